"""Writes small videos with PyAV, copies their packets with other timestamps, and decodes them from start to end."""

import struct
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from tests.support.damaged_videos import inside

SIZE = (64, 48)
FRAMES = 50


class StoredPacket(NamedTuple):
    """A packet as a file stores it; `pts` and `dts` count frames."""

    data: bytes
    pts: int
    dts: int
    is_key: bool


def pictures() -> list[np.ndarray]:
    """Pictures that all differ: a block whose grey level grows with the index, on moving noise."""
    random = np.random.default_rng(0)
    background = random.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    frames = []
    for index in range(FRAMES):
        frame = np.roll(background, index, axis=1).copy()
        frame[8:40, 8:40] = 5 * index
        frames.append(frame)
    return frames


def write(
    path: Path,
    codec: str,
    options: dict[str, str],
    images: Iterable[np.ndarray],
    *,
    pixel_format: str = "yuv420p",
    timestamps: list[int] | None = None,
    prepare: Callable[[Any], None] = lambda stream: None,
) -> Path:
    """Encodes pictures, uint8 [H, W, 3] or with alpha [H, W, 4], at 10 a second or with timestamps in hundredths.

    prepare: changes the stream before it is written.
    """
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(codec, rate=10, options=options)
        stream.width, stream.height = SIZE
        stream.pix_fmt = pixel_format
        if timestamps is not None:
            stream.codec_context.time_base = Fraction(1, 100)
        prepare(stream)
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24" if image.shape[2] == 3 else "rgba")
            if timestamps is not None:
                frame.pts, frame.time_base = timestamps[index], Fraction(1, 100)
            file.mux(stream.encode(frame.reformat(format=pixel_format)))
        file.mux(stream.encode(None))
    return path


def stored_packets(path: Path) -> Iterator[StoredPacket]:
    """The packets of a file of 10 frames a second, in the order in which they are stored."""
    with av.open(str(path)) as file:
        for packet in file.demux(video=0):
            if packet.size:
                pts, dts = (round((stamp or 0) * packet.time_base * 10) for stamp in (packet.pts, packet.dts))
                yield StoredPacket(bytes(packet), pts, dts, packet.is_keyframe)


def remux(
    source: Path,
    target: Path,
    packets: Iterable[StoredPacket],
    *,
    options: dict[str, str] | None = None,
    prepare: Callable[[Any], None] = lambda stream: None,
) -> Path:
    """Writes packets to a file with a stream like that of `source`, at 10 a second.

    options: of the container. prepare: changes the stream before it is written.
    """
    with av.open(str(source)) as file, av.open(str(target), "w", options=options or {}) as copy:
        stream = copy.add_stream_from_template(file.streams.video[0])
        stream.time_base = Fraction(1, 10)
        prepare(stream)
        for stored in packets:
            packet = av.Packet(stored.data)
            packet.pts, packet.dts, packet.duration, packet.time_base = stored.pts, stored.dts, 1, Fraction(1, 10)
            packet.is_keyframe, packet.stream = stored.is_key, stream
            copy.mux(packet)
    return target


def decode_all(path: Path) -> list[np.ndarray]:
    """Decodes every frame from the first to the last, without seeking."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def with_edits(video: bytes, parts: list[tuple[float, float]]) -> bytes:
    """Replaces the edit list of an MP4 file by one that shows these parts."""

    def time_scale(atom: bytes) -> int:
        start = video.index(atom) + 16
        return int.from_bytes(video[start : start + 4], "big")

    start = video.index(b"elst") - 4
    old = video[start : start + int.from_bytes(video[start : start + 4], "big")]
    (first_time,) = struct.unpack(">i", old[20:24])  # of the first frame: 0 unless frames are reordered
    entries = b"".join(
        struct.pack(
            ">IiI",
            round((end - begin) * time_scale(b"mvhd")),
            first_time + round(begin * time_scale(b"mdhd")),
            1 << 16,
        )
        for begin, end in parts
    )
    new = b"elst" + struct.pack(">II", 0, len(parts)) + entries
    return inside(video, (b"moov", b"trak", b"edts"), old, struct.pack(">I", 4 + len(new)) + new)
