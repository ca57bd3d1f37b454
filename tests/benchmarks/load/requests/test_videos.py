"""Videos, and the frames of one."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava_interleave_serve.benchmarks.load.requests import images, videos
from llava_interleave_serve.benchmarks.load.requests.images import Encoded, Noise
from llava_interleave_serve.benchmarks.load.requests.videos import ClipFile, MadeClip


def test_frames_are_spread_from_the_first_to_the_last() -> None:
    assert videos.spread(24, 8) == [0, 3, 7, 10, 13, 16, 20, 23]
    assert videos.spread(3, 8) == [0, 1, 2]


def test_a_file_gives_the_frames_that_were_written(tmp_path: Path) -> None:
    clip = MadeClip(tuple(Noise(5, 64, 48, at) for at in range(8)), 8.0)
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip.file()[1])
    (found,) = videos.in_folder(str(tmp_path))
    assert found == ClipFile(path)
    frames = found.sample(3)
    assert len(frames) == 3
    for frame, at in zip(frames, (0, 4, 7), strict=True):
        assert frame.file()[0] == "jpeg"
        picture = np.asarray(Image.open(io.BytesIO(frame.file()[1])), np.float32)
        assert np.abs(picture - clip.frames[at].draw()).mean() < 20  # two lossy codecs away
        assert np.abs(picture - clip.frames[(at + 4) % 8].draw()).mean() > 20


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_pictures_are_of_their_format_and_size(kind: str) -> None:
    opened = Image.open(io.BytesIO(Encoded(Noise(1, 60, 40), kind).file()[1]))
    assert (opened.format, opened.size) == (kind.upper(), (60, 40))
    assert images.data_url(Encoded(Noise(1, 60, 40), kind)).startswith(f"data:image/{kind};base64,")


def test_noise_takes_about_the_bytes_of_a_photograph() -> None:
    size = len(Encoded(Noise(3, 640, 480), "jpeg").file()[1])
    assert 0.5 < size * 8 / (640 * 480) < 3  # bits a pixel; flat colour takes 0.1, white noise 6


def test_the_frames_of_a_long_video_all_differ() -> None:
    frames = {Noise(2, 64, 48, at).draw().tobytes() for at in range(300)}
    assert len(frames) == 300
