"""What is read without Pillow is what Pillow reads, and what is not plain is left to it."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from llava_interleave_serve.server.errors import MediaError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image import png
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.squash import Squash
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


def file(
    mode: str, lines: bytes, size: tuple[int, int], before: bytes = b"", behind: bytes = b"", pieces: int = 1
) -> bytes:
    """A PNG of lines that are filtered already, its compressed data in so many chunks."""
    packed = zlib.compress(lines)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, COLOURS[mode], 0, 0, 0))
    cut = [at * len(packed) // pieces for at in range(pieces + 1)]
    data = b"".join(chunk(b"IDAT", packed[cut[at] : cut[at + 1]]) for at in range(pieces))
    return png.SIGNATURE + header + before + data + behind + chunk(b"IEND", b"")


def lines(mode: str, filters: list[int], height: int = 24, width: int = 17) -> bytes:
    content = np.random.default_rng(1).integers(0, 256, (height, width * CHANNELS[mode]), dtype=np.uint8)
    return b"".join(bytes([filters[y % len(filters)]]) + content[y].tobytes() for y in range(height))


def by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


@pytest.mark.parametrize("mode", CHANNELS)
@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 1, 3, 0, 2]])
def test_every_filter_is_undone(mode: str, filters: list[int]) -> None:
    data = file(mode, lines(mode, filters), (17, 24), pieces=3)
    pixels = png.decode(data)
    assert pixels is not None
    assert pixels.shape == (24, 17, CHANNELS[mode])
    assert (pixels == by_pillow(data)).all()


@pytest.mark.parametrize("mode", CHANNELS)
def test_what_pillow_writes_is_plain(mode: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(mode).squeeze()).save(buffer, "PNG")
    pixels = png.decode(buffer.getvalue())
    assert pixels is not None
    assert (pixels == noise(mode)).all()


def not_plain() -> dict[str, bytes]:
    plain = lines("RGB", [4])
    whole = file("RGB", plain, (17, 24))
    written = {}
    for name, image, options in (
        ("a palette", Image.fromarray(noise("RGB")).quantize(16), {}),
        ("16 bits", Image.fromarray(np.full((4, 4), 1000, np.uint16)), {}),
        ("one bit", Image.new("1", (9, 9), 1), {}),
        ("a transparent colour", Image.fromarray(noise("RGB")), {"transparency": (1, 2, 3)}),
        ("an animation", Image.new("RGB", (9, 9)), {"save_all": True, "append_images": [Image.new("RGB", (9, 9), 1)]}),
    ):  # fmt: skip
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **options)
        written[name] = buffer.getvalue()
    interlaced = bytearray(whole)
    interlaced[28] = 1
    return written | {
        "interlaced": bytes(interlaced),
        "Exif data behind the picture": file("RGB", plain, (17, 24), behind=chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0")),
        "an unknown filter": file("RGB", lines("RGB", [5]), (17, 24)),
        "a line too few": file("RGB", plain[:-52], (17, 24)),
        "a line too many": file("RGB", plain + plain[:52], (17, 24)),
        "no end": whole[:-12],
        "half": whole[: len(whole) // 2],
        "a broken checksum of the data": whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:],
        "a header alone": whole[:33],
        "less than a header": whole[:20],
        "too many chunks": file("RGB", plain, (17, 24), before=chunk(b"teXt", b"") * png.MOST_CHUNKS),
        "no pixels": file("RGB", b"", (0, 24)),
    }


@pytest.mark.parametrize("name", not_plain())
def test_what_is_not_plain_is_left_to_pillow(name: str) -> None:
    assert png.decode(not_plain()[name]) is None


def test_a_bomb_is_inflated_no_further_than_the_header_says() -> None:
    assert png.decode(file("RGB", bytes(50_000_000), (17, 24))) is None


def test_a_picture_turned_by_exif_before_the_data_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    image = Image.fromarray(noise("RGB", 24, 24))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    assert png.decode(buffer.getvalue()) is not None
    (view,) = decode_image(buffer.getvalue(), Squash(24), Limits(), RequestTiming())
    assert (view == np.asarray(image)[::-1, ::-1]).all()


def test_without_a_compiler_pillow_reads_everything(without_compiler: None) -> None:
    assert build.library() is None
    assert png.decode(file("RGB", lines("RGB", [4]), (17, 24))) is None


def seen(data: bytes) -> bytes | None:
    try:
        return decode_image(data, Squash(16), Limits(), RequestTiming()).tobytes()
    except MediaError:
        return None


def test_damaged_files_are_what_pillow_says_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    sound = [file(mode, lines(mode, [0, 1, 2, 3, 4]), (17, 24), pieces=2) for mode in CHANNELS]
    damaged = [mutant(rng, sound) for _ in range(MUTANTS)]
    ours = [seen(data) for data in damaged]
    monkeypatch.setattr(png, "decode", lambda data: None)
    assert ours == [seen(data) for data in damaged]
    assert 0 < ours.count(None) < MUTANTS
