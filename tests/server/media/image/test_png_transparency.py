"""Transparent PNG files are shown over white at every depth, as a reader written from the specification shows them."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.observability.timing import RequestTiming
from tests.support.image_files import NOISE, encode
from tests.support.pictures import png_reader
from tests.support.pictures.png_reader import CHANNELS, COLOUR, DEPTHS, GREY, PALETTE, Png, chunk

SIDE = 16  # of the pictures and of the view, so that nothing is resized
KINDS = [(colour_type, depth) for colour_type, depths in DEPTHS.items() for depth in depths]


def view(data: bytes) -> np.ndarray:
    (pixels,) = decode_image(data, SquareResize(SIDE), Limits(), RequestTiming()).views
    return np.asarray(pixels, np.int64)


def picture(colour_type: int, depth: int, seed: int) -> Png:
    """A picture of few different samples, so that many pixels have the same colour."""
    random = np.random.default_rng(seed)
    samples = random.integers(0, 1 << depth, 3)[random.integers(0, 3, (SIDE, SIDE, CHANNELS[colour_type]))]
    chunks = {b"PLTE": random.bytes(3 << depth)} if colour_type == PALETTE else {}
    return Png(depth, colour_type, samples, chunks)


def transparency(png: Png, random: np.random.Generator) -> bytes:
    """The content of a tRNS chunk: the colour of a pixel, or alphas for some entries of a palette."""
    if png.colour_type == PALETTE:
        return random.bytes(int(random.integers(1, (1 << png.depth) + 1)))
    unused = random.integers(0, 2) * (0xFFFF >> png.depth << png.depth)  # bits beyond the depth do not count
    return b"".join(struct.pack(">H", int(value) | unused) for value in png.samples[3, 5])


def tolerance(png: Png) -> int:
    """Levels by which the server may differ: it rounds, and of 16 bits a sample it keeps the upper 8 of most."""
    return 2 if png.depth == 16 else 1


@given(st.sampled_from(KINDS), st.integers(0, 2**32 - 1), st.booleans())
def test_what_is_transparent_is_white_and_nothing_else_changes(
    kind: tuple[int, int], seed: int, is_transparent: bool
) -> None:
    png = picture(*kind, seed)
    if is_transparent and png.colour_type in (GREY, COLOUR, PALETTE):
        png.chunks[b"tRNS"] = transparency(png, np.random.default_rng(seed))
    data = png_reader.write(png)
    expected = png_reader.read(data).over_white()
    assert (expected == png.over_white()).all()
    assert np.abs(view(data) - expected).max() <= tolerance(png)
    assert (view(png_reader.write(png, interlaced=True)) == view(data)).all()


@pytest.mark.parametrize(
    ("colour_type", "depth"), [(GREY, depth) for depth in DEPTHS[GREY]] + [(COLOUR, 8), (COLOUR, 16)]
)
def test_a_picture_of_the_transparent_colour_alone_is_white(colour_type: int, depth: int) -> None:
    png = picture(colour_type, depth, 1)
    png.samples[:] = png.samples[3, 5]
    png.chunks[b"tRNS"] = transparency(png, np.random.default_rng(1))
    assert (view(png_reader.write(png)) == 255).all()


@pytest.mark.parametrize("alphas", [b"\0\n", b"\xff\0\n", b"\0\xff", b"\xff\x80", b"\0" * 300, b""])
def test_each_entry_of_a_palette_has_its_own_alpha(alphas: bytes) -> None:
    png = picture(PALETTE, 2, 4)
    png.samples[0, :4, 0] = range(4)
    png.chunks[b"tRNS"] = alphas
    assert np.abs(view(png_reader.write(png)) - png.over_white()).max() <= 1


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("difference", [1, 256])
def test_colours_of_16_bits_are_compared_in_all_bits(position: int, difference: int) -> None:
    png = Png(16, COLOUR, np.full((SIDE, SIDE, 3), 0x1234), {b"tRNS": struct.pack(">3H", *[0x1234] * 3)})
    png.samples[4, 4, position] += difference
    pixels = view(png_reader.write(png))
    assert (pixels == 255).all(-1).sum() == SIDE * SIDE - 1
    assert (pixels[4, 4] != 255).all()


@pytest.mark.parametrize(("colour_type", "depth"), KINDS)
def test_a_transparent_colour_that_stands_behind_the_pixels_counts_for_nothing(colour_type: int, depth: int) -> None:
    png = picture(colour_type, depth, 2)
    with_chunk = png_reader.write(png, behind=chunk(b"tRNS", transparency(png, np.random.default_rng(2))))
    assert (view(with_chunk) == view(png_reader.write(png))).all()


@pytest.mark.parametrize("colour_type", [png_reader.GREY_ALPHA, png_reader.COLOUR_ALPHA])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_beside_an_alpha_channel_counts_for_nothing(colour_type: int, depth: int) -> None:
    png = picture(colour_type, depth, 3)
    plain = view(png_reader.write(png))
    png.chunks[b"tRNS"] = struct.pack(">3H", *[int(png.samples[3, 5, 0])] * 3)
    assert (view(png_reader.write(png)) == plain).all()


def test_the_reader_undoes_every_filter() -> None:
    """The reader agrees with Pillow on what Pillow writes, whose encoder chooses among all filters."""
    for mode in ("L", "LA", "RGB", "RGBA"):
        image = NOISE.resize((40, 30), Image.Resampling.BICUBIC).convert(mode)
        png = png_reader.read(encode(image))
        assert (png.samples.squeeze() == np.asarray(image)).all()
    with Image.open(io.BytesIO(encode(Image.new("1", (9, 9), 1)))) as image:
        assert (png_reader.read(encode(image)).samples == 1).all()
