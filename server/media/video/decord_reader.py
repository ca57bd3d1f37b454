"""Reads chosen frames of a video file by decord, the reader of the checkpoints' own evaluation.

It numbers frames as decord does and gives decord's pixels, where frame_reader.py gives what ffmpeg shows: decord counts
frames that an edit list discards, takes those of AVI in another order, and neither mirrors videos nor blends them.
"""

import os
from collections.abc import Sequence

import decord
import numpy as np

from llava_interleave_serve.server.media.video.frame_reader import (
    FFMPEG_MAX_PIXELS,
    MAX_THREADS,
    FrameCheck,
    accept_every_size,
    open_container,
    video_stream,
)
from llava_interleave_serve.server.media.video.packet_index import index_packets


class DecordReader:
    """Reads frames by their index in decord.VideoReader.

    Raises ValueError, av.FFmpegError and DECORDError for a file that cannot be read.

    Attributes:
        times: from when to when each frame is shown, float64 [frames, 2], in seconds; the first from 0 on.
        stated_size: width and height of the frames as the file states them, or zeros.
        fps: frames a second, on average, as decord says.

    """

    def __init__(self, path: str, max_pixels: int = FFMPEG_MAX_PIXELS) -> None:
        """max_pixels: of a frame that is decoded to open the file. decord has no such bound for those that it reads."""
        # decord would open any of ffmpeg's formats, however many frames there are.
        with open_container(path, max_pixels) as container:
            stream = video_stream(container)
            self.stated_size = stream.codec_context.width, stream.codec_context.height
            index_packets(container, stream)
        self._video = decord.VideoReader(path, num_threads=min(MAX_THREADS, len(os.sched_getaffinity(0))))
        self.fps = float(self._video.get_avg_fps())
        self.times = _rising(self._video.get_frame_timestamp(range(len(self._video))), self.fps)

    def read(
        self, indices: Sequence[int], next_indices: Sequence[int] = (), check: FrameCheck = accept_every_size
    ) -> np.ndarray:
        """Decodes frames: uint8 [k, H, W, 3], RGB. next_indices is for other readers.

        check: called with the size that decord scales the frames to; it does not tell what they have in the file.
        """
        frames: np.ndarray = self._video.get_batch(list(indices)).asnumpy()
        check(frames.shape[2], frames.shape[1])
        return frames


def _rising(times: np.ndarray, fps: float) -> np.ndarray:
    """Converts decord's times, float32 [frames, 2], to float64 that begin at 0.

    Times at an even rate are made exact, since a span may begin or end at one of them. Those that do not rise, as those
    of AVI with B-frames, are replaced by times at an even rate.
    """
    rising = times.astype(np.float64) - float(times[0, 0])
    even = np.arange(len(times))[:, None] / fps + (0, 1 / fps)
    is_rising = np.isfinite(rising).all() and (np.diff(rising[:, 0]) > 0).all() and rising[-1, 1] > rising[-1, 0]
    is_even = np.allclose(rising, even, rtol=0, atol=4 * float(np.spacing(np.float32(np.abs(times).max()))))
    return rising if is_rising and not is_even else even
