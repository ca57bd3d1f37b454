"""Synthesised pictures have the format, size and bytes of photographs."""

import io

import pytest
from PIL import Image

from llava_interleave_serve.benchmarks.load.requests import images
from llava_interleave_serve.benchmarks.load.requests.images import Encoded, Noise


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_synthesised_pictures_have_their_format_and_size(kind: str) -> None:
    opened = Image.open(io.BytesIO(Encoded(Noise(1, 60, 40), kind).file()[1]))
    assert (opened.format, opened.size) == (kind.upper(), (60, 40))
    assert images.data_url(Encoded(Noise(1, 60, 40), kind)).startswith(f"data:image/{kind};base64,")


def test_noise_takes_about_the_bytes_of_a_photograph() -> None:
    size = len(Encoded(Noise(3, 640, 480), "jpeg").file()[1])
    assert 0.5 < size * 8 / (640 * 480) < 3  # bits a pixel; flat colour takes 0.1, white noise 6


def test_the_frames_of_a_long_video_all_differ() -> None:
    frames = {Noise(2, 64, 48, index).draw().tobytes() for index in range(300)}
    assert len(frames) == 300
