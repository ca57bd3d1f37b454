"""Decodes the sampled frames of a video file to views."""

import contextlib
import functools
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from llava_interleave_serve.server.errors import LimitExceeded, MediaError, RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.video.sampling import Sampling, sample
from llava_interleave_serve.server.media.video.video import Video
from llava_interleave_serve.server.media.video.video_readers import VideoReader, reader_class
from llava_interleave_serve.server.observability.timing import RequestTiming

FRAMES_AHEAD = 4  # at full size: those that wait to be resized, and those that the decoder does not skip
HEADER_BYTES = 12  # enough to tell the containers apart


def open_video(file: int, limits: Limits, reader_name: str = "pyav") -> VideoReader:
    """Opens a video by the descriptor of its file, which stays open as long. reader_name: one of VIDEO_READERS.

    Raises MediaError, of the option `url`, for anything but an MP4, MOV, WebM, MKV or AVI file with a video.
    """
    header = os.pread(file, HEADER_BYTES, 0)
    if not header:
        raise MediaError("the video is empty: 0 bytes", param="url")
    if not _is_supported_container(header):
        raise MediaError("this is not an MP4, MOV, WebM, MKV or AVI video", param="url")
    with _damage_as_media_error():
        reader = reader_class(reader_name)(f"/proc/self/fd/{file}", limits.max_pixels)
    if not len(reader.times) or not np.isfinite(reader.times).all() or not math.isfinite(reader.fps):
        raise MediaError("the video has no pictures", param="url")
    return reader


def decode_video(
    reader: VideoReader,
    sampling: Sampling,
    resize: SquareResize,
    limits: Limits,
    timing: RequestTiming,
    approve: Callable[[int, int], None],
) -> Video:
    """Decodes the sampled frames of an open video, and resizes them to views in another thread meanwhile.

    approve: called with the pixels of a frame and the number of frames before they are decoded, and again, with the
    number of frames left, when one has been decoded that is larger than the file states, or than those before it.

    Raises MediaError for a damaged video, RequestError for a span that the video does not have, LimitExceeded and
    MemoryError; all but the last name the option at fault.
    """
    times = reader.times
    duration = float(times[-1, 1])
    if duration > limits.max_video_seconds:
        longest = f"longer than the {limits.max_video_seconds:g} s allowed"
        raise LimitExceeded(f"the video is {duration:.0f} s long, {longest}", param="url")
    indices = sample(times[:, 0], duration, sampling, limits.max_frames)
    limits.check_size("the video's frames have", *reader.stated_size)
    approved = math.prod(reader.stated_size)
    if approved:
        approve(approved, len(indices))
    views = np.empty((len(indices), resize.size, resize.size, 3), np.uint8)

    def resize_frame(number: int, frame: np.ndarray) -> None:
        with timing.measure("preprocess"):
            views[number] = resize(frame)

    def check_frame(left: int, width: int, height: int) -> None:
        nonlocal approved
        limits.check_size("the video's frames have", width, height)
        if width * height > approved:
            approve(width * height, left)
            approved = width * height

    with ThreadPoolExecutor(1, thread_name_prefix="resize") as thread:
        resizing: deque[Future[None]] = deque()
        for number, frame in enumerate(_decode_frames(reader, indices, timing, check_frame)):
            resizing.append(thread.submit(resize_frame, number, frame))
            if len(resizing) > FRAMES_AHEAD:
                resizing.popleft().result()
        for each in resizing:
            each.result()
    seconds = [round(float(times[index, 0]), 3) for index in indices]
    return Video(views, indices, seconds, round(duration, 3), reader.fps)


def _decode_frames(
    reader: VideoReader, indices: list[int], timing: RequestTiming, check: Callable[[int, int, int], None]
) -> Iterator[np.ndarray]:
    """Yields the frames at full size, uint8 [H, W, 3].

    check: called with the number of frames that have not been yielded, and the width and height of one just decoded.
    """
    for number, index in enumerate(indices):
        with timing.measure("decode"), _damage_as_media_error():
            ahead = indices[number + 1 : number + 1 + FRAMES_AHEAD]
            frame = reader.read([index], ahead, functools.partial(check, len(indices) - number))[0]
        yield frame


@contextlib.contextmanager
def _damage_as_media_error() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RequestError):
        raise
    except Exception:  # noqa: BLE001 - whatever a damaged file makes the decoder raise
        what = "the video is damaged, or its pictures are none, too many or too large"
        raise MediaError(what, param="url") from None


def _is_supported_container(data: bytes) -> bool:
    """True if the first bytes are those of an MP4 or MOV, a WebM or MKV, or an AVI file."""
    return (
        data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
        or data[:4] == b"\x1a\x45\xdf\xa3"
        or (data[:4] == b"RIFF" and data[8:12] == b"AVI ")
    )
