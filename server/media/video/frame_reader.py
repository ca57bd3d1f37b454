"""A video file, opened for reading some of its frames."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

CONTAINERS = "mov,matroska,avi"  # by ffmpeg's names; others that it knows read further files, or the network
MOST_THREADS = 4  # more keep more full-size frames in memory than they save time


class Film:
    """Frames by their numbers, counted as they are shown.

    A frame is found by its timestamp: from the last key frame before it, without those that no other needs. Raises
    ValueError for what has no such frames, av.FFmpegError and MemoryError for what cannot be read.
    """

    def __init__(self, path: str) -> None:
        self._container = av.open(path, "r", options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"})
        self._stream = _pictures_of(self._container)
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.thread_count = min(MOST_THREADS, len(os.sched_getaffinity(0)))
        self._list()
        self._size: tuple[int, int] | None = None  # of the first picture; later ones are scaled to it
        self._packets: Iterator[av.Packet[VideoStream]] = iter(())
        self._decoded: deque[VideoFrame] = deque()
        self._at: int | None = None  # the timestamp of the last frame that came out
        self._passed: set[int] = set()  # timestamps given to the decoder that it may have left out

    def _list(self) -> None:
        """Reads through the file, without decoding."""
        shown, keys, last = [], [], 0
        for packet in self._container.demux(self._stream):
            stamp = _stamp(packet)
            if stamp is not None and packet.size > 0 and not packet.is_discard:
                shown.append(stamp)
                last = max(last, stamp + (packet.duration or 0))
                if packet.is_keyframe:
                    keys.append(stamp)
        if not shown or not keys:
            raise ValueError("no frames")
        self._stamps, self._keys = np.unique(np.array(shown, np.int64)), np.unique(np.array(keys, np.int64))
        starts, base = self._stamps.astype(np.float64) - float(self._stamps[0]), self._stream.time_base or Fraction(1)
        ends = np.append(starts[1:], float(last) - float(self._stamps[0]))
        self.times = np.stack([starts, ends], axis=1) * base.numerator / base.denominator
        self.fps = float(self._stream.average_rate or 0) or len(shown) / max(float(self.times[-1, 1]), float(base))
        if self.times[-1, 1] <= self.times[-1, 0]:  # a container that does not say how long a frame is
            self.times[-1, 1] = self.times[-1, 0] + 1 / self.fps

    def read(self, numbers: Sequence[int], later: Sequence[int] = ()) -> np.ndarray:
        """Some frames, of rising numbers: uint8 [k, H, W, 3], RGB, turned as the file says.

        later: numbers that are read next, and so not left out meanwhile.
        """
        wanted = [int(self._stamps[number]) for number in numbers]
        soon = {*wanted, *(int(self._stamps[number]) for number in later)}
        return np.stack([self._picture(self._frame(stamp, soon)) for stamp in wanted])

    def _frame(self, stamp: int, wanted: set[int]) -> VideoFrame:
        key = int(np.searchsorted(self._keys, stamp, side="right")) - 1
        goes_on = self._at is not None and self._at < stamp and stamp not in self._passed
        if goes_on and (key < 0 or self._keys[key] <= self._at):
            frame = self._decode_until(stamp, wanted)
            if frame is not None:
                return frame
        # A container's index may lead behind the key frame that was asked for: then from the one before. And a packet
        # may show nothing, as VP8's golden frames do: then what was shown before is still seen.
        starts = dict.fromkeys([*self._keys[: key + 1][::-1][:2].tolist(), int(self._stamps[0])])
        for needed in (wanted, None):
            for start in starts:
                self._seek(start)
                frame = self._decode_until(stamp, needed)
                if frame is not None:
                    return frame
        raise ValueError("a frame is missing")

    def _seek(self, stamp: int) -> None:
        self._container.seek(stamp, stream=self._stream, backward=True)
        self._packets = self._container.demux(self._stream)
        self._decoded.clear()
        self._passed.clear()
        self._at = None

    def _decode_until(self, stamp: int, wanted: set[int] | None) -> VideoFrame | None:
        """The frame of that timestamp, by way of no more than those wanted need; None if one behind it comes first.

        By way of all, if none are named; then the last one before that timestamp will do, if there is none of it.
        """
        context, before = self._stream.codec_context, None
        while True:
            while self._decoded:
                frame = self._decoded.popleft()
                if frame.pts is None:
                    continue
                self._at = frame.pts
                if frame.pts == stamp:
                    return frame
                if frame.pts > stamp:
                    return before
                before = frame if wanted is None else None
            packet = next(self._packets, None)
            if packet is None:
                return before
            given = _stamp(packet)
            is_needed = wanted is None or given is None or given in wanted
            if given is not None and not is_needed:
                self._passed.add(given)
            context.skip_frame = "DEFAULT" if is_needed else "NONREF"
            try:
                self._decoded.extend(packet.decode())
            except av.InvalidDataError:
                if given in (wanted or {stamp}):
                    raise

    def _picture(self, frame: VideoFrame) -> np.ndarray:
        if self._size is None:
            self._size = frame.width, frame.height
        pixels = frame.to_ndarray(format="rgb24", width=self._size[0], height=self._size[1])
        return np.rot90(pixels, frame.rotation // 90) if frame.rotation % 360 else pixels


def _pictures_of(container: InputContainer) -> VideoStream:
    """The first stream of moving pictures: a song's cover is a picture too."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise ValueError("no video stream")


def _stamp(packet: "av.Packet[VideoStream]") -> int | None:
    """When a packet's frame is shown; AVI says only when it is decoded, which is the same there."""
    return packet.dts if packet.pts is None else packet.pts
