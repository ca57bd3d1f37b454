"""The frames of a file are those that its edit list shows; their rate is their number over the duration."""

import random
from pathlib import Path

import numpy as np
import pytest

from llava_interleave_serve.server.media.video import packet_index
from llava_interleave_serve.server.media.video.frame_reader import MAX_STREAMS, FrameReader
from tests.support.damaged_videos import inside
from tests.support.videos import video_files
from tests.support.videos.video_files import FRAMES, decode_all, pictures

# A key frame in 1,000 lies before every cut.
CODECS = {
    "H.264 without B-frames": ("libx264", {"g": "1000", "bf": "0", "sc_threshold": "0"}),
    "H.264": ("libx264", {"g": "1000", "bf": "3", "sc_threshold": "0"}),
    "H.264 of several groups": ("libx264", {"g": "12", "bf": "3"}),
    "H.264 of open groups": ("libx264", {"x264-params": "keyint=12:open-gop=1:bframes=3:scenecut=0"}),
    "HEVC": ("libx265", {"x265-params": "keyint=1000:scenecut=0:log-level=none"}),
}
# The parts of the film shown, in seconds, each of so many frames as tenths.
EDITS = {
    "the end": [(1.5, 5.0)],
    "the middle": [(2.0, 3.0)],
    "two parts": [(0.5, 1.5), (3.0, 4.5)],
    "two parts in the other order": [(3.0, 4.0), (0.5, 1.5)],
    "one part three times": [(1.0, 2.0)] * 3,
}


@pytest.mark.parametrize("container", ["mp4", "mov"])
@pytest.mark.parametrize("edits", EDITS)
@pytest.mark.parametrize("kind", CODECS)
def test_a_trimmed_video_has_the_frames_that_its_edit_list_shows(
    kind: str, edits: str, container: str, tmp_path: Path
) -> None:
    path = video_files.write(tmp_path / f"whole.{container}", *CODECS[kind], pictures())
    whole = decode_all(path)
    path.write_bytes(video_files.with_edits(path.read_bytes(), EDITS[edits]))
    expected = [whole[index] for begin, end in EDITS[edits] for index in range(round(begin * 10), round(end * 10))]
    reader = FrameReader(str(path))
    assert reader.times == pytest.approx(np.array([(index, index + 1) for index in range(len(expected))]) / 10)
    assert reader.fps == pytest.approx(10)
    rng = random.Random(0)
    for count in (1, 1, 1, 1, 4, len(expected)):
        indices = sorted(rng.sample(range(len(expected)), count))
        for index, frame in zip(indices, reader.read(indices), strict=True):
            assert (frame == expected[index]).all(), (indices, index)


@pytest.mark.parametrize("flags", ["frag_keyframe+empty_moov", "frag_keyframe+delay_moov"])
def test_a_trimmed_video_in_fragments_has_the_frames_of_decoding_it_whole(flags: str, tmp_path: Path) -> None:
    source = video_files.write(tmp_path / "whole.mp4", *CODECS["H.264"], pictures())
    packets = [
        packet._replace(pts=packet.pts - 15, dts=packet.dts - 15) for packet in video_files.stored_packets(source)
    ]
    path = video_files.remux(source, tmp_path / "cut.mp4", packets, options={"movflags": flags})
    expected, reader = decode_all(path), FrameReader(str(path))
    assert len(expected) == len(reader.times) > 0
    for index in (0, 7, len(expected) - 1):
        assert (reader.read([index])[0] == expected[index]).all()


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4")]
)
def test_the_frame_rate_is_that_of_the_frames_over_the_duration(container: str, codec: str, tmp_path: Path) -> None:
    """Times of AVI are multiples of its frame rate, so that its packets leave times out."""
    shown = [0, 10, 20, 30, 100, 110, 500, 510, 900]  # in hundredths of a second
    timestamps = None if container == "avi" else shown
    path = video_files.write(
        tmp_path / f"screen.{container}", codec, {}, pictures()[: len(shown)], timestamps=timestamps
    )
    if container == "avi":
        packets = list(video_files.stored_packets(path))
        spread = [packet._replace(pts=time // 10, dts=time // 10) for packet, time in zip(packets, shown, strict=True)]
        path = video_files.remux(path, tmp_path / "spread.avi", spread)
    reader = FrameReader(str(path))
    assert reader.times[:, 0] == pytest.approx(np.array(shown) / 100, abs=1e-3)
    assert 9 < reader.times[-1, 1] < 10.2
    assert reader.fps == pytest.approx(len(shown) / reader.times[-1, 1])


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_video_of_too_many_frames_is_refused(container: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = video_files.write(tmp_path / f"video.{container}", *CODECS["H.264"], pictures())
    monkeypatch.setattr(packet_index, "MAX_PACKETS", FRAMES)
    assert len(FrameReader(str(path)).times) == FRAMES
    monkeypatch.setattr(packet_index, "MAX_PACKETS", FRAMES - 1)
    with pytest.raises(ValueError, match="too many frames"):
        FrameReader(str(path))


def test_a_video_of_too_many_tracks_is_refused_before_they_are_read(tmp_path: Path) -> None:
    path = video_files.write(tmp_path / "video.mp4", *CODECS["H.264"], pictures())
    video = path.read_bytes()
    start = video.index(b"trak") - 4
    track = video[start : start + int.from_bytes(video[start : start + 4], "big")]
    path.write_bytes(inside(video, (b"moov",), track, track * MAX_STREAMS))
    assert len(FrameReader(str(path)).times) == FRAMES
    path.write_bytes(inside(video, (b"moov",), track, track * (MAX_STREAMS + 1)))
    with pytest.raises(MemoryError):
        FrameReader(str(path))


def test_a_video_of_one_frame_has_a_duration_and_a_frame_rate(tmp_path: Path) -> None:
    for container in ("mp4", "webm", "avi"):
        codec = {"mp4": "libx264", "webm": "libvpx", "avi": "mjpeg"}[container]
        path = video_files.write(
            tmp_path / f"one.{container}",
            codec,
            {},
            pictures()[:1],
            pixel_format="yuvj420p" if codec == "mjpeg" else "yuv420p",
        )
        reader = FrameReader(str(path))
        assert reader.times == pytest.approx(np.array([[0, 0.1]]))
        assert reader.fps == pytest.approx(10)
