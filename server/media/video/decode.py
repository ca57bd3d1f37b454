"""From a video file to the views of its sampled frames."""

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from llava_interleave_serve.server.errors import LimitExceeded, MediaError, RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.video.worker_pool import Leash, VideoWorker, VideoWorkers
from llava_interleave_serve.server.observability import metrics
from llava_interleave_serve.server.observability.timing import Phases

DEFAULT_FRAMES = 16
HIGHEST_RATE = 1e6  # frames a second; nothing is filmed faster
FRAMES_AT_ONCE = 4  # full-size frames that one message holds


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames of a video are taken: `num_frames` uniformly, or `fps` a second, of [start, end] in seconds."""

    num_frames: int | None = None
    fps: float | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Video:
    """Sampled frames: uint8 views [n, S, S, 3], their numbers in the video and their times in seconds."""

    frames: np.ndarray = field(repr=False)
    indices: list[int]
    times: list[float]
    duration: float
    fps: float


def decode_video(
    data: bytes,
    sampling: Sampling,
    resize: SquareResize,
    limits: Limits,
    workers: VideoWorkers,
    phases: Phases,
    leash: Leash,
) -> Video:
    """Decodes the sampled frames of a video in a worker process, seeking to each, and resizes them here meanwhile.

    leash: by which another thread ends it. Raises MediaError for what is not a whole MP4/MOV, WebM/MKV or AVI file,
    RequestError for a sampling that the video cannot give, LimitExceeded; each of the option at fault.
    """
    if not data:
        raise MediaError("the video is empty: 0 bytes", param="url")
    if not _is_video(data):
        raise MediaError("this is not an MP4, MOV, WebM, MKV or AVI video", param="url")
    deadline = time.monotonic() + limits.decode_timeout
    digest = hashlib.sha256(data).digest()
    with workers.borrow(digest, leash) as worker:
        with phases.measure("decode"):
            times, fps = worker.open(data, digest, deadline)
        if not len(times) or not np.isfinite(times).all() or not math.isfinite(fps):
            raise MediaError("the video has no pictures", param="url")
        duration = float(times[-1, 1])
        if duration > limits.max_video_seconds:
            longest = f"longer than the {limits.max_video_seconds:g} s allowed"
            raise LimitExceeded(f"the video is {duration:.0f} s long, {longest}", param="url")
        indices = sample(times[:, 0], duration, sampling, limits.max_frames)
        frames = np.empty((len(indices), resize.size, resize.size, 3), np.uint8)
        for at, picture in enumerate(_pictures(worker, indices, phases)):
            height, width = picture.shape[:2]
            limits.check_size("the video's frames have", width, height)
            with phases.measure("preprocess"):
                frames[at] = resize(picture)
        metrics.MEDIA_PIXELS.labels("video").inc(len(indices) * height * width)
        metrics.VIDEO_FRAMES.inc(len(indices))
        return Video(frames, indices, [round(float(times[at, 0]), 3) for at in indices], round(duration, 3), fps)


def _pictures(worker: VideoWorker, indices: list[int], phases: Phases) -> Iterator[np.ndarray]:
    """The frames, full-size, a few at a time: the next are decoded while these are used.

    The first comes alone, so that no more are decoded where it is too large.
    """
    worker.ask(indices[:1], indices[1 : 1 + FRAMES_AT_ONCE])
    with phases.measure("decode"):
        first = worker.pictures()
    yield from first
    groups = [indices[at : at + FRAMES_AT_ONCE] for at in range(1, len(indices), FRAMES_AT_ONCE)]
    if groups:
        worker.ask(*groups[:2])
    for at in range(len(groups)):
        with phases.measure("decode"):
            pictures = worker.pictures()
        if at + 1 < len(groups):
            worker.ask(*groups[at + 1 : at + 3])
        yield from pictures


def _is_video(data: bytes) -> bool:
    """Whether the bytes begin as one of the containers that are served, whatever the file is called."""
    return (
        data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
        or data[:4] == b"\x1a\x45\xdf\xa3"
        or (data[:4] == b"RIFF" and data[8:12] == b"AVI ")
    )


def sample(times: np.ndarray, duration: float, sampling: Sampling, most: int) -> list[int]:
    """The numbers of the sampled frames, rising, none twice.

    times: when each frame is shown, float64 [frames], seconds. `num_frames` are spread evenly from the first frame of
    the span to its last; `fps` takes the frame that is shown at start, start + 1/fps, ...; a span with fewer frames
    gives all of them. Raises RequestError naming the option at fault, LimitExceeded for more than `most` frames.
    """
    start = sampling.start or 0.0
    end = duration if sampling.end is None else sampling.end
    if start >= duration:
        raise RequestError(f"start is {start:g} s, but the video is {duration:.3f} s long", param="start")
    if end <= start:
        raise RequestError(f"end is {end:g} s, which is not after start at {start:g} s", param="end")
    first = max(0, int(np.searchsorted(times, start, side="right")) - 1)
    last = max(first, int(np.searchsorted(times, end, side="left")) - 1)
    if sampling.fps is None:
        wanted = min(sampling.num_frames or DEFAULT_FRAMES, last - first + 1)
        _check_frames(wanted, most, "num_frames")
        return [round(at) for at in np.linspace(first, last, wanted)]
    # Counted frame by frame: a list of the moments themselves could be of any length.
    rate = min(sampling.fps, HIGHEST_RATE)
    wanted = math.ceil((min(end, duration) - start) * rate)
    _check_frames(min(wanted, last - first + 1), most, "fps")
    passed = _moments_before(times[first + 1 : last + 1] - start, rate, wanted)
    shown = np.diff(passed, prepend=0, append=wanted) > 0
    return [first + int(at) for at in np.flatnonzero(shown)]


def _moments_before(times: np.ndarray, fps: float, most: int) -> np.ndarray:
    """How many of the moments 0, 1/fps, 2/fps, ... come before each time: int64, at most `most`."""
    counts = np.ceil(times * fps)
    counts += counts / fps < times  # where the product was rounded the other way
    counts -= (counts > 0) & ((counts - 1) / fps >= times)
    return np.clip(counts, 0, most).astype(np.int64)


def _check_frames(wanted: int, most: int, param: str) -> None:
    if wanted > most:
        raise LimitExceeded(f"this samples {wanted} frames, more than the {most} allowed", param=param)
