"""Selects which frames of a video are decoded, from the times at which its frames are shown."""

import math
from dataclasses import dataclass

import numpy as np

from llava_interleave_serve.server.errors import LimitExceeded, RequestError

DEFAULT_FRAMES = 16
MAX_FPS = 1e6  # frames a second; no video has more


@dataclass(frozen=True, slots=True)
class Sampling:
    """Options of a request that say which frames of a video to take.

    Attributes:
        num_frames: frames to spread evenly over the span; DEFAULT_FRAMES if neither this nor `fps` is given.
        fps: frames to take a second, instead of `num_frames`.
        start: where the span begins, in seconds; the start of the video if None.
        end: where the span ends, in seconds; the end of the video if None.

    """

    num_frames: int | None = None
    fps: float | None = None
    start: float | None = None
    end: float | None = None


def sample(times: np.ndarray, duration: float, sampling: Sampling, max_frames: int) -> list[int]:
    """Selects the indices of the frames to decode, in rising order and without duplicates.

    `num_frames` spreads frames evenly from the first of the span to its last, both included, and rounds down, as the
    checkpoints' evaluation does. `fps` takes the frames that are on screen at start, start + 1/fps, start + 2/fps, ...
    before the end. Either gives every frame of a span that has no more than that.

    times: when each frame begins to be shown, float64 [frames], seconds. duration: of the video, seconds. Raises
    RequestError for a span that the video does not have, and LimitExceeded for more than `max_frames` frames; both name
    the option at fault.
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
        count = min(sampling.num_frames or DEFAULT_FRAMES, last - first + 1)
        _check_count(count, max_frames, "num_frames")
        indices: list[int] = np.linspace(first, last, count, dtype=int).tolist()
        return indices
    # Moments are counted frame by frame, because a list of the moments could be of any length.
    fps = min(sampling.fps, MAX_FPS)
    moments = max(1, math.ceil((min(end, duration) - start) * fps))  # `start` is one, however the product is rounded
    _check_count(min(moments, last - first + 1), max_frames, "fps")
    moments_before = _count_moments_before(times[first + 1 : last + 1] - start, fps, moments)
    is_sampled = np.diff(moments_before, prepend=0, append=moments) > 0  # a moment falls while the frame is shown
    return [first + int(index) for index in np.flatnonzero(is_sampled)]


def _count_moments_before(times: np.ndarray, fps: float, max_count: int) -> np.ndarray:
    """Counts how many of the moments 0, 1/fps, 2/fps, ... come before each time: int64, at most `max_count`."""
    counts = np.ceil(times * fps)
    # The product is rounded, so that a moment may be on the wrong side of a time; i / fps decides.
    counts += counts / fps < times
    counts -= (counts > 0) & ((counts - 1) / fps >= times)
    return np.clip(counts, 0, max_count).astype(np.int64)


def _check_count(count: int, max_frames: int, param: str) -> None:
    if count > max_frames:
        raise LimitExceeded(f"this samples {count} frames, more than the {max_frames} allowed", param=param)
