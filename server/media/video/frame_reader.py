"""Reads chosen frames of a video file with ffmpeg, by PyAV."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from llava_interleave_serve.server.media.video.frame_pixels import to_rgb
from llava_interleave_serve.server.media.video.frame_timestamps import (
    CountedTimestamps,
    FrameTimestamps,
    StoredTimestamps,
)
from llava_interleave_serve.server.media.video.packet_index import index_packets

CONTAINERS = "mov,matroska,avi"  # ffmpeg's names; its other formats may open further files, or the network
MAX_STREAMS = (
    64  # a film has a few of sound and subtitles, and a font may be one; opening takes as long as all together
)
FFMPEG_MAX_PIXELS = (1 << 31) - 1  # ffmpeg's own bound
LONGEST_SIDE = 1 << 16  # of most codecs
MAX_ALIGNMENT = 64  # decoders round both sides up to whole blocks, of at most so many pixels a side
MAX_THREADS = 4  # more keep more full-size frames in memory than they save time


FrameCheck = Callable[[int, int], None]  # takes the width and height of a frame, and raises if it is too large


def accept_every_size(width: int, height: int) -> None:
    """Is the check of frames that may have any size."""


@dataclass(slots=True)
class _Run:
    """One run of the decoder through the file, from a seek on.

    Attributes:
        packets: those that the decoder has not been given.
        timestamps: tells when frames are shown.
        decoded: frames that the decoder has put out and `_decode` has not yielded.
        last: timestamp of the last frame that `_decode` has yielded; None before the first.
        skipped: timestamps of packets that the decoder was allowed to skip; it may have decoded them all the same.

    """

    packets: Iterator["av.Packet[VideoStream]"]
    timestamps: FrameTimestamps
    decoded: deque[VideoFrame] = field(default_factory=deque)
    last: int | None = None
    skipped: set[int] = field(default_factory=set)


class FrameReader:
    """Reads frames by their index, counted in the order in which they are shown.

    A file stores frames in the order in which they are decoded, and gives each the timestamp at which it is shown:

        stored:  I0  P3  B1  B2  P6  B4  B5  I9  B7  B8        shown:  0  1  2  3  4  5  6  7  8  9

    An I frame (a key frame) references no other, a P frame an earlier one, a B frame one on either side; here, nothing
    references B frames. Reading frame 5 seeks to the last key frame that is not after it, I0, and gives the decoder all
    packets up to B5, those of B1, B2 and B4 with leave to skip frames that are not referenced (AVDISCARD_NONREF). Out
    come the frames 0, 3 and 5, in the order shown. After that,

    - frame 6 is read by going on;
    - frame 9 is read by seeking to it, since it is a key frame;
    - frames 2 and 4 are read from I0 again, since they have been passed.

    The decoder works ahead: when frame 3 comes out, it may have been given B4 already. A later frame can thus have been
    skipped, and is then read from I0 again too. Frames that are known to be read next are therefore not skipped.

    Raises ValueError for a file without a readable video, av.FFmpegError and MemoryError for what cannot be decoded.

    Attributes:
        times: from when to when each frame is shown, float64 [frames, 2], in seconds; the first from 0 on.
        stated_size: width and height of the frames as the file states them, or zeros.
        fps: frames a second, on average.

    """

    def __init__(self, path: str, max_pixels: int = FFMPEG_MAX_PIXELS) -> None:
        """max_pixels: of a frame; ffmpeg decodes none that is clearly larger."""
        self._path, self._max_pixels = path, max_pixels
        self._check: FrameCheck = accept_every_size
        self._open()
        self.stated_size = self._stream.codec_context.width, self._stream.codec_context.height
        self._index = index_packets(self._container, self._stream)
        self.times, self.fps = self._index.times, self._index.fps
        self._size: tuple[int, int] | None = None  # of the first frame read; later ones are scaled to it
        # Uncompressed AVI is made of bitmaps, whose fourth byte a pixel is unused, and often 0.
        self._has_alpha = (self._container.format.name, self._stream.codec_context.name) != ("avi", "rawvideo")
        self._run = _Run(iter(()), StoredTimestamps())

    def _open(self) -> None:
        self._container = open_container(self._path, self._max_pixels)
        self._stream = video_stream(self._container)
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.options = {"max_pixels": _with_alignment(self._max_pixels)}
        self._stream.codec_context.thread_count = min(MAX_THREADS, len(os.sched_getaffinity(0)))

    def read(
        self, indices: Sequence[int], next_indices: Sequence[int] = (), check: FrameCheck = accept_every_size
    ) -> np.ndarray:
        """Decodes frames with rising indices: uint8 [k, H, W, 3], RGB, rotated as the file says.

        next_indices: frames that the next call will read, which are therefore not skipped on the way. check: called for
        each decoded frame, also for those on the way, before it is converted; what it raises ends the reading, and the
        next reading checks the frame again.
        """
        self._check = check
        timestamps = [int(self._index.timestamps[index]) for index in indices]
        needed = {*timestamps, *(int(self._index.timestamps[index]) for index in next_indices)}
        return np.stack([self._to_rgb(self._frame(timestamp, needed)) for timestamp in timestamps])

    def _frame(self, timestamp: int, needed: set[int]) -> VideoFrame:
        """Decodes one frame, by going on if that leads to it, and by seeking otherwise."""
        starts = self._starts(timestamp)
        last, skipped = self._run.last, self._run.skipped
        # With a key frame on the way, seeking is shorter.
        if last is not None and starts[0] <= last < timestamp and timestamp not in skipped:
            frame = self._decode_exact(timestamp, needed)
            if frame is not None:
                return frame
        for start in (*starts, None):
            self._seek(start)
            frame = self._decode_exact(timestamp, needed)
            if frame is not None:
                return frame
        # A packet may show nothing, as VP8's golden frames do: then the frame before it is still on screen.
        for start in (*starts, None):
            self._seek(start)
            frame = self._decode_exact_or_previous(timestamp)
            if frame is not None:
                return frame
        raise ValueError("a frame is missing")

    def _starts(self, timestamp: int) -> list[int]:
        """The timestamps at which decoding may begin to come to a frame, in the order in which they are tried.

        A container's index may lead to a place behind the key frame sought. Then decoding starts at the key frame
        before it, and at last where the file starts. Where frames are counted, it starts a group earlier.
        """
        keys = self._index.keys
        last = int(np.searchsorted(keys, timestamp, side="right")) - (1 if self._index.stores_times else 2)
        return list(dict.fromkeys(int(keys[max(index, 0)]) for index in (last, last - 1)))

    def _seek(self, start: int | None) -> None:
        """Seeks to a packet, or to the start of the file, to which an index with several edits does not lead."""
        if start is None:
            self._container.close()
            self._open()
        else:
            self._container.seek(start, stream=self._stream, backward=True)
        timestamps = StoredTimestamps() if self._index.stores_times else CountedTimestamps(self._index)
        self._run = _Run(self._container.demux(self._stream), timestamps)

    def _decode_exact(self, timestamp: int, needed: set[int]) -> VideoFrame | None:
        """Goes on to the frame with this timestamp, skipping frames that are neither `needed` nor referenced.

        None if a later frame comes first, or the file ends.
        """
        for frame_timestamp, frame in self._decode(needed, skips_others=True):
            if frame_timestamp >= timestamp:
                return frame if frame_timestamp == timestamp else None
        return None

    def _decode_exact_or_previous(self, timestamp: int) -> VideoFrame | None:
        """Goes on through every frame to the one with this timestamp; if there is none, to the last one before it.

        None if the first frame to come is a later one.
        """
        previous = None
        for frame_timestamp, frame in self._decode({timestamp}, skips_others=False):
            if frame_timestamp == timestamp:
                return frame
            if frame_timestamp > timestamp:
                break
            previous = frame
        return previous

    def _decode(self, needed: set[int], *, skips_others: bool) -> Iterator[tuple[int, VideoFrame]]:
        """Goes on with the run, yielding timestamps and frames in the order in which they are shown.

        needed: timestamps whose packets must be decoded; damage in others is passed over. skips_others: True to let the
        decoder skip frames that are neither `needed` nor referenced by others.
        """
        run = self._run
        while True:
            while run.decoded:
                self._check(run.decoded[0].width, run.decoded[0].height)
                frame = run.decoded.popleft()
                timestamp = run.timestamps.of_frame(frame)
                if timestamp is not None:
                    run.last = timestamp
                    yield timestamp, frame
            packet = next(run.packets, None)
            if packet is None:
                return
            timestamp = run.timestamps.of_packet(packet)
            if skips_others and timestamp is not None and timestamp not in needed:
                run.skipped.add(timestamp)
                self._stream.codec_context.skip_frame = "NONREF"
            else:
                self._stream.codec_context.skip_frame = "DEFAULT"
            try:
                run.decoded.extend(packet.decode())
            except av.InvalidDataError:
                if timestamp in needed:
                    raise
                run.timestamps.note_damage(packet)

    def _to_rgb(self, frame: VideoFrame) -> np.ndarray:
        if self._size is None:
            self._size = frame.width, frame.height
        return to_rgb(frame, *self._size, has_alpha=self._has_alpha)


def open_container(path: str, max_pixels: int) -> InputContainer:
    """Opens a file of one of CONTAINERS. Raises av.FFmpegError for others, and MemoryError for too many streams.

    max_pixels: of a frame that ffmpeg decodes to learn what the file does not state.
    """
    options = {
        "format_whitelist": CONTAINERS,
        "protocol_whitelist": "file",
        "max_streams": str(MAX_STREAMS),
        "max_pixels": _with_alignment(max_pixels),
        "fflags": "-genpts",  # against PyAV's default, which invents the times that a file lacks
    }
    return av.open(path, "r", options=options)


def video_stream(container: InputContainer) -> VideoStream:
    """The first video stream that is no attached picture, such as the cover of a song."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise ValueError("no video stream")


def _with_alignment(max_pixels: int) -> str:
    """ffmpeg's bound for frames of at most so many pixels, whose sides it rounds up before it compares."""
    # (w + a)(h + a) = wh + a (w + h) + a^2, and w + h <= wh + 1.
    sides = min(max_pixels + 1, 2 * LONGEST_SIDE)
    return str(min(max_pixels + MAX_ALIGNMENT * sides + MAX_ALIGNMENT**2, FFMPEG_MAX_PIXELS))
