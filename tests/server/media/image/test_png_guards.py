"""PNG files whose chunks contradict each other are refused before anything is inflated."""

import functools
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from llava_interleave_serve.server.errors import LimitExceeded, MediaError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image import png_guards
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.observability.timing import RequestTiming
from tests.support.image_files import NOISE, encode

# Decodes the file on standard input with 200 MiB more than what it takes to begin with.
WITH_LITTLE_MEMORY = """
import resource, sys
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.native import build
from llava_interleave_serve.server.observability.timing import RequestTiming
data = sys.stdin.buffer.read()
build.library()
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + (200 << 20)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    decode_image(data, SquareResize(16), Limits(), RequestTiming())
except Exception as error:
    print(type(error).__name__, error)
"""


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def header(width: int, height: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def decode(data: bytes) -> np.ndarray:
    return decode_image(data, SquareResize(16), Limits(), RequestTiming()).views


@functools.cache
def many_pixels() -> bytes:
    """The compressed pixels of a black square of 144 megapixels."""
    compress = zlib.compressobj()
    row = bytes(1 + 3 * 12_000)
    return b"".join(compress.compress(row) for _ in range(12_000)) + compress.flush()


@pytest.mark.parametrize(
    "headers",
    [header(12_000, 12_000) + header(1, 1), header(1, 1) + header(12_000, 12_000)],
    ids=["large first", "small first"],
)
def test_two_headers_are_refused_before_anything_is_inflated(headers: bytes) -> None:
    data = png_guards.SIGNATURE + headers + chunk(b"IDAT", many_pixels()) + chunk(b"IEND", b"")
    assert len(data) < 2_000_000
    run = subprocess.run([sys.executable, "-c", WITH_LITTLE_MEMORY], input=data, capture_output=True, check=True)
    assert run.stdout.decode().strip() == "MediaError the image has more than one IHDR chunk"


@pytest.mark.parametrize("extra", [header(1, 1), header(64, 48)], ids=["another size", "the same size"])
@pytest.mark.parametrize("where", [33, -12])
def test_a_second_header_is_refused_wherever_it_stands(extra: bytes, where: int) -> None:
    data = encode(NOISE)
    with pytest.raises(MediaError, match="more than one IHDR") as refusal:
        decode(data[:where] + extra + data[where:])
    assert refusal.value.param == "url"


def test_a_second_palette_is_refused() -> None:
    data = encode(NOISE.quantize(16))
    palette = data.index(b"PLTE") - 4
    with pytest.raises(MediaError, match="more than one PLTE"):
        decode(data[:palette] + chunk(b"PLTE", bytes(3 * 16)) + data[palette:])


@pytest.mark.parametrize("where", [33, -12])
@pytest.mark.parametrize("kind", [b"prVt", b"IDAT", b"tEXt"])
def test_a_file_of_countless_chunks_is_refused(kind: bytes, where: int) -> None:
    data = encode(NOISE)
    with pytest.raises(LimitExceeded, match="more than 16384 chunks"):
        decode(data[:where] + chunk(kind, b"") * png_guards.MAX_CHUNKS + data[where:])


COMPRESSED = zlib.compress(bytes(1 << 20), 9)
INFLATED = {
    "colour profiles": chunk(b"iCCP", b"x\0\0" + COMPRESSED),
    "text without a name": chunk(b"zTXt", b"\0\0" + COMPRESSED),
    "text in no encoding": chunk(b"iTXt", b"k\0\1\0\xff\0\0" + COMPRESSED),
}


@pytest.mark.parametrize("where", [33, -12])
@pytest.mark.parametrize("name", INFLATED)
def test_countless_chunks_that_are_inflated_are_refused_at_once(name: str, where: int) -> None:
    data = encode(NOISE)
    decode(data)  # the first one of a process waits for the compiler
    started = time.perf_counter()
    with pytest.raises(LimitExceeded, match="more than 64 chunks of text"):
        decode(data[:where] + INFLATED[name] * 2000 + data[where:])
    assert time.perf_counter() - started < 0.2


def test_text_and_a_colour_profile_are_served() -> None:
    text = PngImagePlugin.PngInfo()
    for number in range(60):
        text.add_text(f"key {number}", "x" * 3000, zip=number % 2 == 0)
    assert (decode(encode(NOISE, pnginfo=text, icc_profile=bytes(500_000))) == decode(encode(NOISE))).all()


def test_what_stands_behind_the_end_does_not_count() -> None:
    assert (decode(encode(NOISE) + chunk(b"IHDR", b"") * 20_000) == decode(encode(NOISE))).all()


def test_animations_and_palettes_are_served() -> None:
    frames = [Image.new("RGB", (64, 48), (index, 0, 0)) for index in range(50)]
    assert decode(encode(frames[0], save_all=True, append_images=frames[1:])).shape == (1, 16, 16, 3)
    assert decode(encode(NOISE.quantize(16), transparency=3)).shape == (1, 16, 16, 3)
