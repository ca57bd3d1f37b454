"""JPEG files that are small and take seconds to decode or to open are refused at once; those of encoders are served."""

import itertools
import struct
import time

import numpy as np
import pytest
from PIL import Image

from llava_interleave_serve.server.errors import LimitExceeded, MediaError, RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image import jpeg_guards
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.observability.timing import RequestTiming
from tests.support.image_files import NOISE, encode

START, END = b"\xff\xd8", b"\xff\xd9"
REFUSED_WITHIN = 0.5  # seconds of a busy core; most take a millisecond


def segment(marker: int, content: bytes = b"") -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def frame(marker: int, width: int, height: int, components: int, bits: int = 8) -> bytes:
    parts = b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
    return segment(marker, struct.pack(">BHHB", bits, height, width, components) + parts)


def scan(*components: int, first: int = 0, last: int = 63) -> bytes:
    """A scan without any data: 10 bytes, for which libjpeg goes over all pixels."""
    named = b"".join(bytes([component, 0]) for component in components)
    return segment(0xDA, bytes([len(components)]) + named + bytes([first, last, 0]))


QUANTISATION = segment(0xDB, b"\0" + b"\1" * 64)
HUFFMAN = b"".join(segment(0xC4, bytes([kind, 1, *[0] * 15, 0])) for kind in (0x00, 0x10))
TABLES = QUANTISATION + HUFFMAN
COLOUR_BY_COLOUR = scan(1) + scan(2) + scan(3)
RESTART_INTERVAL = segment(0xDD, b"\0\1")
WHOLE = encode(NOISE, "JPEG")
PADDING = bytes(100_000)  # behind the end, so that the file is no smaller than one of so many pixels can be
PROGRESSIVE = scan(1, 2, 3, last=0) + scan(1, first=1) + scan(2, first=1) + scan(3, first=1)


def decode(data: bytes) -> np.ndarray:
    return decode_image(data, SquareResize(16), Limits(), RequestTiming()).views


def refusal_of(data: bytes) -> RequestError:
    """The error of a file that is refused in less than REFUSED_WITHIN."""
    decode(WHOLE)  # the first one of a process waits for the compiler
    started = time.perf_counter()
    with pytest.raises((MediaError, LimitExceeded)) as refusal:
        decode(data)
    assert time.perf_counter() - started < REFUSED_WITHIN
    assert refusal.value.param == "url"
    return refusal.value


# A scan costs as much whatever the frame's type is, and whatever stands between the scans.
FILES_OF_SCANS = {
    "sequential": TABLES + frame(0xC0, 4000, 4000, 3) + COLOUR_BY_COLOUR * 2000,
    "extended sequential": TABLES + frame(0xC1, 4000, 4000, 3) + COLOUR_BY_COLOUR * 2000,
    "progressive": TABLES + frame(0xC2, 4000, 4000, 3) + PROGRESSIVE * 2000,
    "lossless": TABLES + frame(0xC3, 4000, 4000, 3) + (COLOUR_BY_COLOUR) * 2000,
    "with metadata between": TABLES + frame(0xC2, 4000, 4000, 3) + (PROGRESSIVE + segment(0xE5, b"\xff\xd9")) * 2000,
    # libjpeg looks for the next restart marker and hops over no length behind a reserved marker.
    "behind a reserved marker": TABLES + RESTART_INTERVAL + frame(0xC2, 4000, 4000, 1) + scan(1, last=0)
    + b"\0\xff\xbf\xff\xff" + (scan(1, first=1) + b"\0") * 2000,
}  # fmt: skip


@pytest.mark.parametrize("name", FILES_OF_SCANS)
def test_countless_scans_are_refused_whatever_the_type_of_the_frame(name: str) -> None:
    error = refusal_of(START + FILES_OF_SCANS[name] + END + PADDING)
    assert isinstance(error, LimitExceeded)
    assert "more than 20 scans" in error.message


@pytest.mark.parametrize("components", [(1,), (1, 2, 3)])
def test_a_second_scan_of_a_file_of_one_scan_is_an_error_at_once(components: tuple[int, ...]) -> None:
    scans = scan(*components) * 50_000
    assert "damaged" in refusal_of(START + TABLES + frame(0xC0, 1000, 1000, len(components)) + scans + END).message


def test_scans_times_pixels_are_bounded() -> None:
    def file(side: int, scans: int) -> bytes:
        repeated = itertools.islice(itertools.cycle([scan(1), scan(2), scan(3)]), scans)
        return START + TABLES + frame(0xC0, side, side, 3) + b"".join(repeated) + END + PADDING

    limit = Limits().max_pixels

    def is_refused(side: int, scans: int) -> bool:
        header = jpeg_guards.check_header(file(side, scans))
        assert header is not None
        try:
            jpeg_guards.check_scans(file(side, scans), header, side * side, limit)
        except LimitExceeded:
            return True
        return False

    assert [is_refused(7000, 20), is_refused(7000, 21)] == [False, True]
    assert [is_refused(2000, 50), is_refused(2000, 51)] == [False, True]
    assert [is_refused(100, 100), is_refused(100, 101)] == [False, True]


@pytest.mark.parametrize("components", [3, 4])
def test_a_file_of_fewer_bits_than_blocks_is_refused_at_once(components: int) -> None:
    scans = [scan(1 + number % components, first=1 if number else 0, last=1) for number in range(20)]
    data = START + TABLES + frame(0xC2, 7000, 7000, components) + scan(*range(1, components + 1), last=0)
    data += b"".join(scans[1:]) + END
    assert len(data) < 500
    assert "damaged" in refusal_of(data).message


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}], ids=str)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_smallest_files_of_encoders_are_served(mode: str, options: dict[str, object]) -> None:
    """A picture of one colour takes a bit or two for each block."""
    data = encode(Image.new(mode, (4001, 3001), "white"), "JPEG", quality=1, **options)
    assert (decode(data) > 250).all()


@pytest.mark.parametrize("marker", [0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_arithmetic_coding_is_refused_by_name(marker: int) -> None:
    error = refusal_of(START + TABLES + frame(marker, 1000, 1000, 1) + scan(1) * 100_000 + END)
    assert "arithmetic coding" in error.message
    assert error.code == "invalid_media"


@pytest.mark.parametrize("marker", [0xC5, 0xC6, 0xC7, 0xDE])
def test_frames_of_a_hierarchy_are_refused_by_name(marker: int) -> None:
    assert "hierarchical" in refusal_of(START + TABLES + frame(marker, 64, 64, 1) + scan(1) + END).message


def with_header(content: bytes) -> bytes:
    """A whole JPEG with something more in front of its first segment."""
    return WHOLE[:2] + content + WHOLE[2:]


SLOW_HEADERS = {
    "metadata": (segment(0xE5) * 1_000_000, "more than 4096 segments"),
    "metadata of no length": (b"\xff\xe5\0\0" * 1_000_000, "more than 4096 segments"),
    "comments": (segment(0xFE) * 1_000_000, "more than 4096 segments"),
    "Exif data": (segment(0xE1, b"Exif\0\0a") * 10_000, "more than 64 Exif segments"),
    "padding": (b"\xff" * 4_000_000, "more than 16384 bytes between"),
    "bytes of no segment": (segment(0xFE) + bytes(4_000_000), "more than 16384 bytes between"),
    "restart markers": (b"\xff\xd0" * 2_000_000, "more than 16384 bytes between"),
    "quantisation tables": (segment(0xDB, (b"\0" + b"\1" * 64) * 1000) * 62, "more than 65536 bytes of tables"),
    "Photoshop resources": (
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000) * 66, "more than 4096 Photoshop resources"
    ),
    "markers without a length": (b"\xff\xf0" * 2_000_000, "damaged"),
    "an end before the first scan": (END + segment(0xE5) * 1_000_000, "damaged"),
    "two frames": (frame(0xC0, 64, 48, 3), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOW_HEADERS)
def test_a_header_that_is_read_piece_by_piece_is_refused(name: str) -> None:
    content, message = SLOW_HEADERS[name]
    assert message in refusal_of(with_header(content)).message


def valid_files() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 3
    grey, cmyk = NOISE.convert("L"), NOISE.convert("CMYK")
    large = NOISE.resize((4000, 3000))
    thumbnail = encode(NOISE, "JPEG", progressive=True)
    return {
        "baseline": encode(NOISE, "JPEG"),
        "grey": encode(grey, "JPEG"),
        "CMYK": encode(cmyk, "JPEG", progressive=True),
        "12 progressive megapixels": encode(large, "JPEG", progressive=True),
        "optimised tables": encode(NOISE, "JPEG", optimize=True),
        "restart markers": encode(NOISE, "JPEG", restart_marker_blocks=1),
        "restart markers, progressive": encode(NOISE, "JPEG", restart_marker_blocks=1, progressive=True),
        "metadata": encode(NOISE, "JPEG", exif=exif, icc_profile=bytes(3_000_000), comment=b"x" * 60_000),
        "several pictures": encode(NOISE, "MPO", save_all=True, append_images=[NOISE] * 5),
        "thumbnails with scans": with_header(segment(0xE2, thumbnail) * 30),
        "padding": with_header(segment(0xFE, b"x") + b"\xff" * 4000),
        "pictures behind the end": encode(NOISE, "JPEG") + thumbnail * 200,
    }


@pytest.mark.parametrize("name", valid_files())
def test_files_of_encoders_are_served(name: str) -> None:
    assert decode(valid_files()[name]).shape == (1, 16, 16, 3)


def test_no_file_of_an_encoder_takes_a_hundredth_of_its_decoding_to_check() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    data = encode(Image.fromarray(pixels).resize((4000, 3000)), "JPEG", progressive=True)

    def seconds(call: object) -> float:
        assert callable(call)
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    def check() -> None:
        header = jpeg_guards.check_header(data)
        assert header is not None
        jpeg_guards.check_scans(data, header, 12_000_000, 50_000_000)

    decoding = min(seconds(lambda: decode(data)) for _ in range(2))
    assert min(seconds(check) for _ in range(5)) < decoding / 100
