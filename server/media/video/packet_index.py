"""Indexes the frames of a video file by its packets, without decoding them."""

from array import array
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

MAX_PACKETS = 1_000_000  # of a video: 4 hours at 69 a second; reading through them takes 2 s


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """The frames that a file's packets hold. Timestamps are in units of the stream's time base.

    Attributes:
        timestamps: when each frame is shown, in that order: int64 [frames], rising.
        keys: timestamps of the packets at which decoding can begin, rising; the first is the lowest of all packets.
        stores_times: False if the file says only when frames are decoded, and not when they are shown. The timestamps
            of its packets are then those of its frames as a whole, but not one by one.
        times: from when to when each frame is shown, float64 [frames, 2], in seconds; the first from 0 on.

    """

    timestamps: np.ndarray
    keys: np.ndarray
    stores_times: bool
    times: np.ndarray

    @property
    def fps(self) -> float:
        """Frames a second, on average. What containers say of it is a guess where they store none, as WebM does."""
        return len(self.timestamps) / float(self.times[-1, 1])


def index_packets(container: InputContainer, stream: VideoStream) -> PacketIndex:
    """Reads through a file from where it stands. Raises ValueError for a stream of no packets, or over MAX_PACKETS."""
    columns, stores_times = array("q"), True
    for count, packet in enumerate(container.demux(stream)):
        if max(count, stream.frames) > MAX_PACKETS:
            raise ValueError("too many frames")
        timestamp = packet_timestamp(packet)
        if packet.size > 0 and timestamp is not None:
            columns.extend((timestamp, packet.duration or 0, packet.is_keyframe, packet.is_discard))
            stores_times = stores_times and packet.pts is not None
    packets, durations, is_key, is_discarded = np.frombuffer(columns, np.int64).reshape(-1, 4).T
    is_shown = is_discarded == 0
    if not is_shown.any():
        raise ValueError("no frames")
    # AVI stores no other times than those of decoding, and Matroska in its AVI mode neither. Other files that lack them
    # give the former as the latter: then packets are in the order of their timestamps where the codec reorders frames.
    if stream.codec_context.has_b_frames and (np.diff(packets) > 0).all():
        stores_times = False
    timestamps = np.unique(packets[is_shown])
    # An edit list discards frames from which shown ones are decoded: often the only key frame of a trimmed video.
    keys = np.unique(np.append(packets[is_key != 0], packets.min()))
    end = (packets[is_shown].astype(np.float64) + durations[is_shown]).max()
    return PacketIndex(timestamps, keys, stores_times, _times(timestamps, float(end), stream))


def packet_timestamp(packet: "Packet[VideoStream]") -> int | None:
    """The time at which a packet's frame is shown, or at which it is decoded if the file says no more."""
    return packet.dts if packet.pts is None else packet.pts


def _times(timestamps: np.ndarray, end: float, stream: VideoStream) -> np.ndarray:
    """From when to when each frame is shown: float64 [frames, 2], in seconds."""
    first, unit = float(timestamps[0]), stream.time_base or Fraction(1)
    starts = timestamps.astype(np.float64) - first
    times = np.stack([starts, np.append(starts[1:], end - first)], axis=1) * unit.numerator / unit.denominator
    if times[-1, 1] <= times[-1, 0]:  # the container does not say how long the last frame is shown
        is_alone = len(times) == 1
        times[-1, 1] += 1 / float(stream.average_rate or 1 / unit) if is_alone else times[-1, 0] / (len(times) - 1)
    return times
