"""GIF files of countless blocks, and BMP files of run lengths, are refused before Pillow reads them in Python."""

import contextlib
import io
import struct
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from llava_interleave_serve.server.errors import LimitExceeded, MediaError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image import gif_guards
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.observability.timing import RequestTiming
from tests.support.image_files import NOISE, encode

GIF = encode(NOISE.quantize(256), "GIF")
FIRST_BLOCK = 13 + 3 * 256


def decode(data: bytes) -> np.ndarray:
    return decode_image(data, SquareResize(16), Limits(), RequestTiming()).views


def with_blocks(content: bytes) -> bytes:
    """A whole GIF with something more in front of its first picture."""
    return GIF[:FIRST_BLOCK] + content + GIF[FIRST_BLOCK:]


COUNTLESS = {
    "comments": b"!\xfe" + b"\1a" * 1_000_000 + b"\0",
    "application data": b"!\xff\x0bABCDEFGHIJK" + b"\1a" * 1_000_000 + b"\0",
    "extensions": b"!\xf9\4\0\0\0\0\0" * 300_000,
    "empty extensions": b"!\xfe\0" * 1_000_000,
    "bytes of no block": bytes(2_000_000),
    # Pillow reads on behind an empty first block: what looks like a picture is a length there.
    "blocks behind an empty one": b"!\1\0," + bytes(44) + b"\1a" * 1_000_000 + b"\0",
    "blocks behind a missing number of repetitions": b"!\xff\x0bNETSCAPE2.0\0,"
    + b"a" * 44
    + b"\1a" * 1_000_000
    + b"\0",
}


@pytest.mark.parametrize("name", COUNTLESS)
def test_a_file_of_countless_blocks_is_refused_at_once(name: str) -> None:
    decode(GIF)  # the first one of a process waits for the compiler
    started = time.perf_counter()
    with pytest.raises((LimitExceeded, MediaError)) as refusal:
        decode(with_blocks(COUNTLESS[name]))
    assert time.perf_counter() - started < 0.2
    assert refusal.value.param == "url"


class CountedReads(io.BytesIO):
    """A file that counts how often it is read from."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


PIECES = [b"!\xfe", b"!\xf9", b"!\1", b"!\xff\x0bNETSCAPE2.0", b"!\xff\x0bNETSCAPE2.1", b"\3\1\0\0", b"\0", b"\1a",
          b",", b";", b"\2!,", b"\x0bNETSCAPE2.0", b"\4\0\0\0\0"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), st.binary(min_size=2, max_size=2))
def test_no_order_of_blocks_hides_others_from_the_count(blocks: bytes, repeated: bytes) -> None:
    data = with_blocks(blocks + repeated * (2 * gif_guards.MAX_BLOCKS))
    try:
        gif_guards.check_blocks(data)
    except LimitExceeded:
        return
    file = CountedReads(data)
    with contextlib.suppress(Exception):
        Image.open(file, formats=["GIF"]).close()
    assert file.reads < 2 * gif_guards.MAX_BLOCKS + 100  # a block is read by its length and its content


def test_animations_comments_and_metadata_are_served() -> None:
    frames = [Image.new("P", (64, 48), index) for index in range(200)]
    options = {"loop": 0, "comment": b"x" * 60_000, "duration": 20}
    assert decode(encode(NOISE, "GIF", save_all=True, append_images=frames, **options)).shape == (1, 16, 16, 3)
    xmp = b"!\xff\x0bXMP DataXMP" + b"<x:xmpmeta>" * 6000 + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    assert (decode(with_blocks(xmp)) == decode(GIF)).all()


def bmp_of_run_lengths(side: int, bits: int, compression: int, content: bytes) -> bytes:
    palette = b"".join(bytes([index, 0, 0, 0]) for index in range(1 << bits))
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, bits, compression, len(content), 0, 0, 1 << bits, 0)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(content), 0, 0, start) + header + palette + content


@pytest.mark.parametrize(
    ("bits", "compression", "content"),
    [(8, 1, b"\0\0" * 7000), (8, 1, b"\xff\1" * 2_000_000), (4, 2, b"\xff\x12" * 200_000), (8, 1, b"\2\1" * 4)],
    ids=["empty lines", "past the end of a line", "four bits", "few"],
)
def test_a_bmp_of_run_lengths_is_refused_at_once(bits: int, compression: int, content: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(MediaError, match="BMP of run lengths"):
        decode(bmp_of_run_lengths(7000, bits, compression, content))
    assert time.perf_counter() - started < 0.2


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_other_bmp_files_are_served(mode: str) -> None:
    assert decode(encode(NOISE.convert(mode), "BMP")).shape == (1, 16, 16, 3)
