"""Frames of files that store only the order in which they are decoded are read in the order in which they are shown."""

import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_interleave_serve.server.media.video.frame_reader import FrameReader
from tests.support.videos import video_files
from tests.support.videos.video_files import FRAMES, SIZE, StoredPacket, decode_all, pictures

ANY_CUT = {"sc_threshold": "1000000000"}  # key frames where `g` says alone
CODECS = {
    "H.264 with one key frame": ("libx264", {"g": "1000", "bf": "3", "sc_threshold": "0"}),
    "H.264 of several groups": ("libx264", {"g": "12", "bf": "3", "b-pyramid": "normal", "sc_threshold": "0"}),
    "H.264 of open groups": ("libx264", {"x264-params": "keyint=12:open-gop=1:bframes=3:scenecut=0"}),
    "H.264 without B-frames": ("libx264", {"g": "12", "bf": "0"}),
    "MPEG-4 with one key frame": ("mpeg4", {"g": "600", "bf": "2", **ANY_CUT}),
    "MPEG-4 of several groups": ("mpeg4", {"g": "12", "bf": "2", "flags": "+cgop", **ANY_CUT}),
    "MPEG-4 of open groups": ("mpeg4", {"g": "12", "bf": "3", **ANY_CUT}),
    "MPEG-4 of short groups": ("mpeg4", {"g": "3", "bf": "2", **ANY_CUT}),
    "MPEG-4 with single B-frames": ("mpeg4", {"g": "12", "bf": "1", **ANY_CUT}),
    "MPEG-2": ("mpeg2video", {"g": "12", "bf": "2"}),
}
VOP, USER_DATA, GROUP = b"\0\0\1\xb6", b"\0\0\1\xb2", b"\0\0\1\xb3"  # start codes of MPEG-4 (ISO/IEC 14496-2, 6.3)
EMPTY_VOP = VOP + b"\x50\0\x7f"  # of type P, and not coded


def is_b_frame(packet: StoredPacket) -> bool:
    return packet.data[packet.data.rindex(VOP) + len(VOP)] >> 6 == 2


def packed(packets: list[StoredPacket]) -> Iterator[StoredPacket]:
    """Packs MPEG-4 as DivX does: the first B-frame in the packet of the frame before it, and an empty one last."""
    start = packets[0].data.index(GROUP)
    user_data = USER_DATA + b"DivX503b1393p\0"  # by the p a decoder knows
    packets[0] = packets[0]._replace(data=packets[0].data[:start] + user_data + packets[0].data[start:])
    groups: list[list[StoredPacket]] = []
    for packet in packets:
        if is_b_frame(packet):
            groups[-1].append(packet)
        else:
            groups.append([packet])
    number = 0
    for reference, *b_frames in groups:
        data = [reference.data] if not b_frames else [reference.data + b_frames[0].data]
        data += [packet.data for packet in b_frames[1:]] + [EMPTY_VOP] * bool(b_frames)
        for content in data:
            is_key = reference.is_key and content is data[0]
            yield StoredPacket(content, number, number, is_key)
            number += 1


def as_stored(packets: list[StoredPacket]) -> Iterator[StoredPacket]:
    """Gives packets the times at which they are decoded."""
    return (packet._replace(pts=number, dts=number) for number, packet in enumerate(packets))


def avi_mode(stream: Any) -> None:
    """Makes the codec's private data that of Matroska's AVI mode: a BITMAPINFOHEADER and the codec's own."""
    own = bytes(stream.codec_context.extradata)
    header = struct.pack("<IiiHH4s5I", 40 + len(own), *SIZE, 1, 24, b"XVID", *[0] * 5)
    stream.codec_context.extradata = header + own


def write_avi(folder: Path, kind: str) -> Path:
    return video_files.write(folder / "video.avi", *CODECS[kind], pictures())


def write_packed_avi(folder: Path, kind: str) -> Path:
    source = write_avi(folder, kind)
    return video_files.remux(source, folder / "packed.avi", packed(list(video_files.stored_packets(source))))


def write_avi_without_index(folder: Path, kind: str) -> Path:
    path = write_avi(folder, kind)
    video = path.read_bytes()
    path.write_bytes(video[: video.index(b"idx1")])
    return path


def write_matroska_in_avi_mode(folder: Path, kind: str) -> Path:
    source = write_avi(folder, kind)
    packets = as_stored(list(video_files.stored_packets(source)))
    path = video_files.remux(source, folder / "video.mkv", packets, prepare=avi_mode)
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/ASP", b"V_MS/VFW/FOURCC"))
    return path


def write_without_composition_times(container: str) -> Callable[[Path, str], Path]:
    def write(folder: Path, kind: str) -> Path:
        source = video_files.write(folder / "video.mp4", *CODECS[kind], pictures())
        packets = as_stored(list(video_files.stored_packets(source)))
        return video_files.remux(source, folder / f"stored.{container}", packets)

    return write


H264 = [kind for kind in CODECS if kind.startswith("H.264")]
MPEG4 = [kind for kind in CODECS if kind.startswith("MPEG-4")]
WRITERS: dict[str, tuple[Callable[[Path, str], Path], list[str]]] = {
    "AVI": (write_avi, list(CODECS)),
    "AVI without an index": (write_avi_without_index, [*H264[:2], *MPEG4[:2]]),
    "AVI with packed B-frames": (write_packed_avi, MPEG4),
    "Matroska in AVI mode": (write_matroska_in_avi_mode, MPEG4),
    "MP4 without composition times": (write_without_composition_times("mp4"), [*H264, *MPEG4]),
    "MOV without composition times": (write_without_composition_times("mov"), H264[:2]),
    "Matroska without composition times": (write_without_composition_times("mkv"), H264[:3]),
}


@pytest.mark.parametrize(
    ("container", "kind"), [(container, kind) for container, (_, kinds) in WRITERS.items() for kind in kinds]
)
def test_frames_are_read_in_the_order_in_which_they_are_shown(container: str, kind: str, tmp_path: Path) -> None:
    path = WRITERS[container][0](tmp_path, kind)
    expected, reader, rng = decode_all(path), FrameReader(str(path)), random.Random(0)
    assert len(expected) == len(reader.times) == FRAMES
    assert reader.times[:, 0] == pytest.approx(np.arange(FRAMES) / 10, abs=1e-3)
    for count in (1,) * 20 + (2, 4, 16, FRAMES) * 2:
        indices = sorted(rng.sample(range(FRAMES), count))
        for index, frame in zip(indices, reader.read(indices), strict=True):
            assert (frame == expected[index]).all(), (indices, index)


def test_the_frames_of_an_avi_file_are_those_that_were_written(tmp_path: Path) -> None:
    """ffmpeg itself might put out frames in another order."""
    reader = FrameReader(str(write_avi(tmp_path, "H.264 with one key frame")))
    for index in (0, 1, 2, 3, 7, 25, FRAMES - 2, FRAMES - 1):
        assert reader.read([index])[0][12:36, 12:36].mean() == pytest.approx(5 * index, abs=2)


def test_damage_in_one_group_of_an_avi_file_leaves_the_others_readable(tmp_path: Path) -> None:
    path = write_avi(tmp_path, "MPEG-4 of several groups")
    expected = decode_all(path)
    packets = list(video_files.stored_packets(path))
    packets[14] = packets[14]._replace(data=b"\0" * 40)
    damaged = FrameReader(str(video_files.remux(path, tmp_path / "damaged.avi", packets)))
    for index in (40, 3, 30, 25):
        assert (damaged.read([index])[0] == expected[index]).all(), index
