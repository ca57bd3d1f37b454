"""That a frame is the frame of its number, whatever was read before it and however it is packed."""

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from llava_interleave_serve.server.media.video.frame_reader import Film

FRAMES, SIZE = 50, (64, 48)
SHOWN = 0x10  # the bit of a VP8 frame's first byte
CODECS = {  # that a container is usual for; with frames that others are not made from, and some that are shown before
    "H.264, mp4": ("mp4", "libx264", {"g": "12", "bf": "3", "b-pyramid": "normal", "sc_threshold": "0"}),
    "H.264 with open groups, mkv": ("mkv", "libx264", {"x264-params": "keyint=12:open-gop=1:bframes=3"}),
    "H.264 with one key frame, mov": ("mov", "libx264", {"g": "1000", "bf": "2"}),
    "HEVC, mp4": ("mp4", "libx265", {"x265-params": "keyint=12:log-level=none"}),
    "VP9, webm": ("webm", "libvpx-vp9", {"g": "12"}),
    "VP8, webm": ("webm", "libvpx", {"g": "12"}),
    "MPEG-4, avi": ("avi", "mpeg4", {"g": "12", "bf": "2"}),
    "MJPEG, avi": ("avi", "mjpeg", {}),
}


def pictures() -> list[np.ndarray]:
    """Each unlike the others: a moving block on noise, its grey the frame's number."""
    random = np.random.default_rng(0)
    ground = random.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    frames = []
    for number in range(FRAMES):
        frame = np.roll(ground, number, axis=1).copy()
        frame[8:40, 8:40] = 5 * number
        frames.append(frame)
    return frames


def write(path: Path, kind: str, stamps: list[int] | None = None) -> Path:
    """A film of `pictures`, at 10 a second or shown at so many hundredths of a second."""
    container, codec, options = CODECS[kind]
    path = path / f"film.{container}"
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(codec, rate=10, options=options)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 100)
        for number, picture in enumerate(pictures()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 100)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def in_a_row(path: Path) -> list[np.ndarray]:
    """Every frame, decoded from the first to the last."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


@pytest.mark.parametrize("kind", CODECS)
def test_frames_are_those_of_a_walk_through_the_film(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind)
    every, film, choose = in_a_row(path), Film(str(path)), random.Random(0)
    assert len(every) == len(film.times) == FRAMES
    assert film.fps == pytest.approx(10)
    assert film.times[:, 0] == pytest.approx(np.arange(FRAMES) / 10, abs=1e-3)
    assert film.times[-1, 1] == pytest.approx(FRAMES / 10, abs=1e-3)
    for count in (1, 2, 4, 16, FRAMES) * 4:
        numbers = sorted(choose.sample(range(FRAMES), count))
        ahead = choose.randint(1, count)
        first, then = numbers[:ahead], numbers[ahead:]
        read = [*film.read(first, then[:3]), *(film.read(then) if then else ())]
        for number, picture in zip(numbers, read, strict=True):
            assert (picture == every[number]).all(), (numbers, number)


def test_where_a_packet_shows_nothing_the_picture_before_is_seen(tmp_path: Path) -> None:
    """As WebM's VP8 has it: frames that others are made from, and that are not shown."""
    whole, hidden = write(tmp_path, "VP8, webm"), 20
    path = tmp_path / "hidden.webm"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is not None:
                data = bytearray(bytes(packet))
                data[0] &= 0xFF if number != hidden else ~SHOWN & 0xFF
                copy = av.Packet(bytes(data))
                copy.pts, copy.dts, copy.time_base, copy.stream = packet.pts, packet.dts, packet.time_base, stream
                copy.is_keyframe = packet.is_keyframe
                target.mux(copy)
    every, film = in_a_row(path), Film(str(path))
    assert (len(every), len(film.times)) == (FRAMES - 1, FRAMES)
    read = film.read(range(hidden - 2, hidden + 3))
    for at, picture in zip((-2, -1, -1, 0, 1), read, strict=True):
        assert (picture == every[hidden + at]).all(), at


def test_a_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    stamps = np.cumsum([0, *np.random.default_rng(1).integers(1, 60, FRAMES - 1)]).tolist()
    path = write(tmp_path, "H.264, mp4", stamps)
    film, every = Film(str(path)), in_a_row(path)
    assert film.times[:, 0] == pytest.approx(np.array(stamps) / 100, abs=1e-3)
    for number in (0, 7, 30, FRAMES - 1):
        assert (film.read([number])[0] == every[number]).all()


def test_a_film_starts_at_nought_whatever_its_clock_says(tmp_path: Path) -> None:
    film = Film(str(write(tmp_path, "H.264 with open groups, mkv", [700 + 10 * at for at in range(FRAMES)])))
    assert film.times[0, 0] == 0
    assert film.times[-1, 1] == pytest.approx(FRAMES / 10, abs=0.1)


def test_a_film_is_turned_as_its_file_says(tmp_path: Path) -> None:
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(90)
        for picture in pictures()[:5]:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    (read,) = Film(str(path)).read([0])
    seen = cv2.cvtColor(cv2.VideoCapture(str(path)).read()[1], cv2.COLOR_BGR2RGB)
    assert read.shape == seen.shape == (SIZE[0], SIZE[1], 3)
    assert (read == seen).all()


def test_a_song_is_no_film(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as file:
        sound = file.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        file.mux(sound.encode(silence))
        file.mux(sound.encode(None))
    with pytest.raises(ValueError, match="no video stream"):
        Film(str(path))


def test_other_containers_are_not_opened(tmp_path: Path) -> None:
    """A play list names other files: of this machine, or of others."""
    write(tmp_path, "H.264, mp4")
    for name, text in {
        "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfilm.mp4\n#EXT-X-ENDLIST\n",
        "list.ffconcat": "ffconcat version 1.0\nfile film.mp4\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(av.FFmpegError):
            Film(str(tmp_path / name))
