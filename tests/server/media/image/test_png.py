"""Plain PNG files decode to the pixels that Pillow reads; all others are left to Pillow."""

import io
import itertools
import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from llava_interleave_serve.server.errors import MediaError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image import png, png_guards
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.native import build
from llava_interleave_serve.server.observability.timing import RequestTiming
from tests.support.mutants import mutant

CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
COLOURS = {"L": 0, "LA": 4, "RGB": 2, "RGBA": 6}
MUTANTS = 400


def noise(mode: str, height: int = 24, width: int = 17) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, CHANNELS[mode]), dtype=np.uint8)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_file(
    mode: str, scanlines: bytes, size: tuple[int, int], before: bytes = b"", behind: bytes = b"", idat_chunks: int = 1
) -> bytes:
    """A PNG of filtered scanlines, with other chunks before and behind its IDAT chunks."""
    compressed = zlib.compress(scanlines)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, COLOURS[mode], 0, 0, 0))
    bounds = [index * len(compressed) // idat_chunks for index in range(idat_chunks + 1)]
    data = b"".join(chunk(b"IDAT", compressed[start:end]) for start, end in itertools.pairwise(bounds))
    return png_guards.SIGNATURE + header + before + data + behind + chunk(b"IEND", b"")


def filtered_scanlines(mode: str, filters: list[int], height: int = 24, width: int = 17) -> bytes:
    content = np.random.default_rng(1).integers(0, 256, (height, width * CHANNELS[mode]), dtype=np.uint8)
    return b"".join(bytes([filters[y % len(filters)]]) + content[y].tobytes() for y in range(height))


def size_in_header(data: bytes) -> tuple[int, int]:
    """The width and height of the first IHDR chunk."""
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def decoded_by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


@pytest.mark.parametrize("mode", CHANNELS)
@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 1, 3, 0, 2]])
def test_every_png_filter_is_undone(mode: str, filters: list[int]) -> None:
    data = png_file(mode, filtered_scanlines(mode, filters), (17, 24), idat_chunks=3)
    pixels = png.decode(data, (17, 24))
    assert pixels is not None
    assert pixels.shape == (24, 17, CHANNELS[mode])
    assert (pixels == decoded_by_pillow(data)).all()


@pytest.mark.parametrize("mode", CHANNELS)
def test_png_files_that_pillow_writes_are_decoded(mode: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(mode).squeeze()).save(buffer, "PNG")
    pixels = png.decode(buffer.getvalue(), (17, 24))
    assert pixels is not None
    assert (pixels == noise(mode)).all()


def not_plain() -> dict[str, bytes]:
    plain = filtered_scanlines("RGB", [4])
    whole = png_file("RGB", plain, (17, 24))
    files = {}
    for name, image, options in (
        ("a palette", Image.fromarray(noise("RGB")).quantize(16), {}),
        ("16 bits", Image.fromarray(np.full((4, 4), 1000, np.uint16)), {}),
        ("one bit", Image.new("1", (9, 9), 1), {}),
        ("a transparent colour", Image.fromarray(noise("RGB")), {"transparency": (1, 2, 3)}),
        ("an animation", Image.new("RGB", (9, 9)), {"save_all": True, "append_images": [Image.new("RGB", (9, 9), 1)]}),
    ):  # fmt: skip
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **options)
        files[name] = buffer.getvalue()
    interlaced = bytearray(whole)
    interlaced[28] = 1
    return files | {
        "interlaced": bytes(interlaced),
        "Exif data behind the picture": png_file("RGB", plain, (17, 24), behind=chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0")),
        "an unknown filter": png_file("RGB", filtered_scanlines("RGB", [5]), (17, 24)),
        "a line too few": png_file("RGB", plain[:-52], (17, 24)),
        "a line too many": png_file("RGB", plain + plain[:52], (17, 24)),
        "no end": whole[:-12],
        "half": whole[: len(whole) // 2],
        "a broken checksum of the data": whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:],
        "a header alone": whole[:33],
        "less than a header": whole[:20],
        "too many chunks": png_file("RGB", plain, (17, 24), before=chunk(b"tEXt", b"") * png_guards.MAX_CHUNKS),
        "no pixels": png_file("RGB", b"", (0, 24)),
        "a second header": png_file("RGB", plain, (17, 24), before=whole[8:33]),
        "a second palette": png_file("RGB", plain, (17, 24), before=chunk(b"PLTE", bytes(3)) * 2),
        "a frame of an animation": png_file("RGB", plain, (17, 24), before=chunk(b"fcTL", bytes(26))),
    }


@pytest.mark.parametrize("name", not_plain())
def test_png_files_of_other_kinds_are_left_to_pillow(name: str) -> None:
    data = not_plain()[name]
    assert png.decode(data, size_in_header(data)) is None


def test_a_png_decompression_bomb_is_left_to_pillow() -> None:
    assert png.decode(png_file("RGB", bytes(50_000_000), (17, 24)), (17, 24)) is None


def test_a_png_of_another_size_than_was_checked_is_left_to_pillow() -> None:
    data = png_file("RGB", filtered_scanlines("RGB", [4]), (17, 24))
    assert png.decode(data, (1, 1)) is None
    assert png.decode(data, (24, 17)) is None


def chunks_in_any_order() -> st.SearchStrategy[bytes]:
    """PNG files of chunks in any order and number, whose pixels may be those of any header among them."""
    sizes = [(17, 24), (1, 1), (8, 6)]
    headers = [chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)) for size in sizes]
    pixels = [chunk(b"IDAT", zlib.compress(filtered_scanlines("RGB", [4], height, width))) for width, height in sizes]
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 1, 1, 0, 0, 1, 1, 0, 0))
    others = [chunk(b"PLTE", bytes(3)), chunk(b"tEXt", b"a\0b"), chunk(b"acTL", struct.pack(">II", 1, 0)), frame]
    anything = st.lists(st.sampled_from([*headers, *pixels, *others, chunk(b"gAMA", bytes(4))]), max_size=5)
    return st.builds(
        lambda header, middle, data: png_guards.SIGNATURE + header + b"".join([*middle, data]) + chunk(b"IEND", b""),
        st.sampled_from(headers), anything, st.sampled_from(pixels),
    )  # fmt: skip


@given(chunks_in_any_order())
@pytest.mark.filterwarnings("ignore:Invalid APNG:UserWarning")
def test_the_pixels_are_those_that_pillow_reads_whatever_the_order_of_the_chunks(data: bytes) -> None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            size = image.size
    except (OSError, SyntaxError, ValueError):
        return
    # The size in the header would be the wrong one to ask for: what was checked is Pillow's.
    pixels = png.decode(data, size)
    assert pixels is None or (pixels == decoded_by_pillow(data)).all()
    assert pixels is None or pixels.shape[1::-1] == size


def test_exif_orientation_before_the_pixels_of_a_png_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    image = Image.fromarray(noise("RGB", 24, 24))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    assert png.decode(buffer.getvalue(), (24, 24)) is not None
    (view,) = decode_image(buffer.getvalue(), SquareResize(24), Limits(), RequestTiming()).views
    assert (view == np.asarray(image)[::-1, ::-1]).all()


def test_every_png_is_left_to_pillow_without_a_compiler(without_compiler: None) -> None:
    assert build.library() is None
    assert png.decode(png_file("RGB", filtered_scanlines("RGB", [4]), (17, 24)), (17, 24)) is None


def decoded(data: bytes) -> bytes | None:
    try:
        return decode_image(data, SquareResize(16), Limits(), RequestTiming()).views.tobytes()
    except MediaError:
        return None


def test_damaged_png_files_are_decoded_or_refused_as_pillow_does(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    intact = [png_file(mode, filtered_scanlines(mode, [0, 1, 2, 3, 4]), (17, 24), idat_chunks=2) for mode in CHANNELS]
    damaged = [mutant(rng, intact) for _ in range(MUTANTS)]
    with_c = [decoded(data) for data in damaged]
    monkeypatch.setattr(png, "decode", lambda data, size: None)
    assert with_c == [decoded(data) for data in damaged]
    assert 0 < with_c.count(None) < MUTANTS
