"""Decodes the sampled frames of a video file to views."""

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from llava_interleave_serve.server.errors import LimitExceeded, MediaError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.video.sampling import Sampling, sample
from llava_interleave_serve.server.media.video.worker_pool import CancellationHandle, VideoWorker, VideoWorkerPool
from llava_interleave_serve.server.observability import metrics
from llava_interleave_serve.server.observability.timing import RequestTiming

FRAMES_PER_MESSAGE = 4  # at full size


@dataclass(frozen=True, slots=True)
class Video:
    """The sampled frames of a video.

    Attributes:
        frames: views, uint8 [n, S, S, 3], RGB.
        indices: of the n frames, counted in the order in which the video shows them, from 0.
        times: when each of the n frames begins to be shown, in seconds.
        duration: of the whole video, in seconds.
        fps: frames a second of the whole video.

    """

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
    workers: VideoWorkerPool,
    timing: RequestTiming,
    cancellation: CancellationHandle,
) -> Video:
    """Decodes the sampled frames in a worker process, and resizes them to views in this one meanwhile.

    cancellation: lets another thread end the decoding. Raises MediaError for anything but a whole MP4, MOV, WebM, MKV
    or AVI file, RequestError for a span that the video does not have, and LimitExceeded; all name the option at fault.
    """
    if not data:
        raise MediaError("the video is empty: 0 bytes", param="url")
    if not _is_supported_container(data):
        raise MediaError("this is not an MP4, MOV, WebM, MKV or AVI video", param="url")
    deadline = time.monotonic() + limits.decode_timeout
    digest = hashlib.sha256(data).digest()
    with workers.borrow(digest, cancellation) as worker:
        with timing.measure("decode"):
            times, fps = worker.open(data, digest, deadline)
        if not len(times) or not np.isfinite(times).all() or not math.isfinite(fps):
            raise MediaError("the video has no pictures", param="url")
        duration = float(times[-1, 1])
        if duration > limits.max_video_seconds:
            longest = f"longer than the {limits.max_video_seconds:g} s allowed"
            raise LimitExceeded(f"the video is {duration:.0f} s long, {longest}", param="url")
        indices = sample(times[:, 0], duration, sampling, limits.max_frames)
        views = np.empty((len(indices), resize.size, resize.size, 3), np.uint8)
        for view, frame in zip(views, _decode_frames(worker, indices, timing), strict=True):
            height, width = frame.shape[:2]
            limits.check_size("the video's frames have", width, height)
            with timing.measure("preprocess"):
                view[:] = resize(frame)
        metrics.MEDIA_PIXELS.labels("video").inc(len(indices) * height * width)
        metrics.VIDEO_FRAMES.inc(len(indices))
        seconds = [round(float(times[index, 0]), 3) for index in indices]
        return Video(views, indices, seconds, round(duration, 3), fps)


def _decode_frames(worker: VideoWorker, indices: list[int], timing: RequestTiming) -> Iterator[np.ndarray]:
    """Yields the frames at full size, uint8 [H, W, 3]; the worker decodes the next few while the caller uses these.

    The first frame is requested alone, so that only one is decoded where frames are too large.
    """
    worker.request_frames(indices[:1], indices[1 : 1 + FRAMES_PER_MESSAGE])
    with timing.measure("decode"):
        first = worker.receive_frames()
    yield from first
    groups = [indices[start : start + FRAMES_PER_MESSAGE] for start in range(1, len(indices), FRAMES_PER_MESSAGE)]
    if groups:
        worker.request_frames(*groups[:2])
    for number in range(len(groups)):
        with timing.measure("decode"):
            frames = worker.receive_frames()
        if number + 1 < len(groups):
            worker.request_frames(*groups[number + 1 : number + 3])
        yield from frames


def _is_supported_container(data: bytes) -> bool:
    """True if the first bytes are those of an MP4 or MOV, a WebM or MKV, or an AVI file."""
    return (
        data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
        or data[:4] == b"\x1a\x45\xdf\xa3"
        or (data[:4] == b"RIFF" and data[8:12] == b"AVI ")
    )
