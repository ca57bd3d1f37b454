"""Tells when the frames that a decoder puts out are shown, during one run from a seek on."""

from typing import Protocol

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from llava_interleave_serve.server.media.video.packet_index import PacketIndex, packet_timestamp


class FrameTimestamps(Protocol):
    """The timestamps of PacketIndex that frames have."""

    def of_packet(self, packet: "Packet[VideoStream]") -> int | None:
        """The timestamp of the frame that a packet holds, which is given to the decoder next; None if unknown."""
        ...

    def of_frame(self, frame: VideoFrame) -> int | None:
        """The timestamp of the next frame that the decoder puts out; None if unknown."""
        ...

    def note_damage(self, packet: "Packet[VideoStream]") -> None:
        """Takes note that the decoder could not decode a packet: this one, or one shortly before it."""
        ...


class StoredTimestamps:
    """The timestamps of frames in a file that stores them."""

    def of_packet(self, packet: "Packet[VideoStream]") -> int | None:
        return packet.pts

    def of_frame(self, frame: VideoFrame) -> int | None:
        return frame.pts

    def note_damage(self, packet: "Packet[VideoStream]") -> None:
        pass


class CountedTimestamps:
    """The timestamps of frames in a file that stores only the order in which they are decoded.

    Frames are counted, since a decoder puts them out in the order in which they are shown. A group is the packet of a
    key frame and those up to the next key frame. Its frames are shown after those of the groups before it, and have as
    many timestamps as it has packets, from that of its first packet on:

        group 1: I0  P3  B1  B2        group 2: I6  B4  B5  P9  B7  B8        shown: 0  1  2  3 | 4  5  6  7  8  9

    A decoder that starts at I6 does not put out B4 and B5, which reference P3. The frames of the group in which a run
    starts are therefore not counted, unless the group is the file's first, which is the best there is. Neither are
    those of a group in which damage is met.
    """

    def __init__(self, index: PacketIndex) -> None:
        self._index = index
        self._starts_at: int | None = None  # timestamp of the run's first packet
        self._uncounted = -1  # the last group that is not counted
        self._group = self._count = 0  # how many frames of which group have been put out

    def of_packet(self, packet: "Packet[VideoStream]") -> int | None:
        """Always None: which frames are shown when is known once they are decoded."""
        packet.pts = packet_timestamp(packet)  # which the decoder gives to the frame, and that tells the frame's group
        if self._starts_at is None:
            self._starts_at = packet.pts
            self.note_damage(packet)
        return None

    def of_frame(self, frame: VideoFrame) -> int | None:
        group = self._group_of(frame.pts) if frame.pts is not None else self._group
        if group <= self._uncounted:
            return None
        if group > self._group:
            self._group, self._count = group, 0
        index = int(np.searchsorted(self._index.timestamps, self._index.keys[self._group])) + self._count
        self._count += 1
        return int(self._index.timestamps[index]) if index < len(self._index.timestamps) else None

    def note_damage(self, packet: "Packet[VideoStream]") -> None:
        if self._starts_at != self._index.keys[0] and packet.pts is not None:
            self._uncounted = self._group_of(packet.pts)

    def _group_of(self, timestamp: int) -> int:
        return int(np.searchsorted(self._index.keys, timestamp, side="right")) - 1
