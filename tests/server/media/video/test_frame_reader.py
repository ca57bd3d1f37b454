"""A frame read by its index is the one that decoding the whole file gives, whatever the codec and the reads before."""

import random
from pathlib import Path

import av
import numpy as np
import pytest

from llava_interleave_serve.server.media.video.frame_reader import FrameReader
from tests.support.videos import video_files
from tests.support.videos.video_files import FRAMES, decode_all, pictures

IS_SHOWN = 0x10  # show_frame, a bit of a VP8 frame's first byte (RFC 6386, section 9.1)
# The usual codecs of each container, with B frames where the codec has them: container, encoder, its options.
CODECS = {
    "H.264, mp4": ("mp4", "libx264", {"g": "12", "bf": "3", "b-pyramid": "normal", "sc_threshold": "0"}),
    "H.264 with open groups, mkv": ("mkv", "libx264", {"x264-params": "keyint=12:open-gop=1:bframes=3"}),
    "H.264 with one key frame, mov": ("mov", "libx264", {"g": "1000", "bf": "2"}),
    "HEVC, mp4": ("mp4", "libx265", {"x265-params": "keyint=12:log-level=none"}),
    "VP9, webm": ("webm", "libvpx-vp9", {"g": "12"}),
    "VP8, webm": ("webm", "libvpx", {"g": "12"}),
    "MPEG-4, avi": ("avi", "mpeg4", {"g": "12", "bf": "2"}),
    "MJPEG, avi": ("avi", "mjpeg", {}),
}


def write_video(folder: Path, kind: str, timestamps: list[int] | None = None) -> Path:
    """Writes `pictures` as a video, at 10 a second or with timestamps in hundredths of a second."""
    container, codec, options = CODECS[kind]
    return video_files.write(
        folder / f"video.{container}",
        codec,
        options,
        pictures(),
        pixel_format="yuvj420p" if codec == "mjpeg" else "yuv420p",
        timestamps=timestamps,
    )


@pytest.mark.parametrize("kind", CODECS)
def test_frames_read_by_index_are_those_of_decoding_the_whole_video(kind: str, tmp_path: Path) -> None:
    path = write_video(tmp_path, kind)
    expected, reader, rng = decode_all(path), FrameReader(str(path)), random.Random(0)
    assert len(expected) == len(reader.times) == FRAMES
    assert reader.fps == pytest.approx(10)
    assert reader.times[:, 0] == pytest.approx(np.arange(FRAMES) / 10, abs=1e-3)
    assert reader.times[-1, 1] == pytest.approx(FRAMES / 10, abs=1e-3)
    for count in (1, 2, 4, 16, FRAMES) * 4:
        indices = sorted(rng.sample(range(FRAMES), count))
        split = rng.randint(1, count)
        first, second = indices[:split], indices[split:]
        frames = [*reader.read(first, second[:3]), *(reader.read(second) if second else ())]
        for index, frame in zip(indices, frames, strict=True):
            assert (frame == expected[index]).all(), (indices, index)


def test_a_packet_that_shows_nothing_is_read_as_the_previous_frame(tmp_path: Path) -> None:
    """VP8 has frames that are never shown, only referenced by others."""
    whole, hidden = write_video(tmp_path, "VP8, webm"), 20
    path = tmp_path / "hidden.webm"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(source.demux(video=0)):
            if packet.dts is not None:
                data = bytearray(bytes(packet))
                data[0] &= 0xFF if index != hidden else ~IS_SHOWN & 0xFF
                copy = av.Packet(bytes(data))
                copy.pts, copy.dts, copy.time_base, copy.stream = packet.pts, packet.dts, packet.time_base, stream
                copy.is_keyframe = packet.is_keyframe
                target.mux(copy)
    expected, reader = decode_all(path), FrameReader(str(path))
    assert (len(expected), len(reader.times)) == (FRAMES - 1, FRAMES)
    frames = reader.read(range(hidden - 2, hidden + 3))
    for offset, frame in zip((-2, -1, -1, 0, 1), frames, strict=True):
        assert (frame == expected[hidden + offset]).all(), offset


def test_frame_times_are_read_at_a_variable_frame_rate(tmp_path: Path) -> None:
    timestamps = np.cumsum([0, *np.random.default_rng(1).integers(1, 60, FRAMES - 1)]).tolist()
    path = write_video(tmp_path, "H.264, mp4", timestamps)
    reader, expected = FrameReader(str(path)), decode_all(path)
    assert reader.times[:, 0] == pytest.approx(np.array(timestamps) / 100, abs=1e-3)
    for index in (0, 7, 30, FRAMES - 1):
        assert (reader.read([index])[0] == expected[index]).all()


def test_frame_times_start_at_0_whatever_the_first_timestamp_is(tmp_path: Path) -> None:
    timestamps = [700 + 10 * index for index in range(FRAMES)]
    reader = FrameReader(str(write_video(tmp_path, "H.264 with open groups, mkv", timestamps)))
    assert reader.times[0, 0] == 0
    assert reader.times[-1, 1] == pytest.approx(FRAMES / 10, abs=0.1)


def test_an_audio_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        file.mux(stream.encode(silence))
        file.mux(stream.encode(None))
    with pytest.raises(ValueError, match="no video stream"):
        FrameReader(str(path))


def test_containers_that_are_not_served_are_not_opened(tmp_path: Path) -> None:
    """Play lists name further files, which may be on this machine or another."""
    write_video(tmp_path, "H.264, mp4")
    for name, text in {
        "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nvideo.mp4\n#EXT-X-ENDLIST\n",
        "list.ffconcat": "ffconcat version 1.0\nfile video.mp4\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(av.FFmpegError):
            FrameReader(str(tmp_path / name))
