"""JPEG files that libjpeg warns of are served where every viewer shows them, and refused where pixels are missing."""

import io
import itertools
import random
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from llava_interleave_serve.server.errors import MediaError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image import jpeg, jpeg_guards
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.observability.timing import RequestTiming
from tests.support.image_files import NOISE, encode
from tests.support.pictures import jpeg_writer

SMOOTH = NOISE.resize((7, 5)).resize((320, 240), Image.Resampling.BICUBIC)
END = b"\xff\xd9"
MOST_BLOCKS = 10  # of all components together in one scan
FACTORS = [(across, down) for across in range(1, 5) for down in range(1, 5)]
Factors = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
TRAILER = b"what a doorbell writes behind the picture " * 9


def decode(data: bytes, size: int = 32, *, scales: bool = False) -> np.ndarray:
    return decode_image(data, SquareResize(size, scales), Limits(), RequestTiming()).views


def by_pillow(data: bytes) -> np.ndarray | None:
    """The pixels that Pillow alone reads, or None if it refuses the file."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except OSError:
        return None


def edited(data: bytes, position: int, value: int) -> bytes:
    return data[:position] + bytes([value]) + data[position + 1 :]


def scan_parameters(data: bytes) -> int:
    """The position of the three bytes that end the header of the first scan."""
    start = data.index(b"\xff\xda")
    return start + 5 + 2 * data[start + 4]


def files_with_warnings() -> dict[str, bytes]:
    whole = encode(SMOOTH, "JPEG")
    restarts = encode(SMOOTH, "JPEG", restart_marker_blocks=4)
    progressive = encode(SMOOTH, "JPEG", progressive=True)
    third = restarts.rindex(b"\xff\xd3")
    profile = jpeg_writer.segment(0xE2, b"ICC_PROFILE\0\5\1" + bytes(100))
    selections = {
        f"{name} of {parameter}": edited(whole, scan_parameters(whole) + offset, value)
        for offset, name in enumerate(("first coefficient", "last coefficient", "bits"))
        for parameter, value in (("0", 0), ("1", 1), ("62", 62), ("0x11", 0x11))
    }
    return selections | {
        "JFIF of major version 2": edited(whole, 11, 2),
        "progressive JFIF of major version 2": edited(progressive, 11, 2),
        "a colour profile of which parts are missing": whole[:2] + profile + whole[2:],
        "bytes between the segments": whole[:20] + b"abc" + whole[20:],
        "bytes before the end marker": whole[:-2] + b"\0\1\2" + END,
        "a restart marker is missing": restarts[:third] + restarts[third + 2 :],
        "a wrong restart marker": restarts[:third] + b"\xff\xd6" + restarts[third + 2 :],
        "no end marker, but a trailer": whole[:-2] + TRAILER,
        "no end marker, but a few bytes": whole[:-2] + b"\0\1\2",
        "no end marker, but zeros": whole[:-2] + bytes(100),
        "no end marker, but a trailer behind restart markers": restarts[:-2] + TRAILER,
        "refined bits that never came": edited(progressive, scan_parameters(progressive) + 2, 0x10),
    }


@pytest.mark.parametrize("name", files_with_warnings())
def test_a_file_that_libjpeg_warns_of_is_served_as_pillow_reads_it(name: str) -> None:
    data = files_with_warnings()[name]
    expected = by_pillow(data)
    assert expected is not None
    assert (decode(data)[0] == SquareResize(32)(expected)).all()


def test_scan_parameters_that_a_sequential_picture_does_not_use_change_no_pixel() -> None:
    whole = encode(SMOOTH, "JPEG")
    assert (decode(edited(whole, scan_parameters(whole) + 1, 0)) == decode(whole)).all()
    assert (decode(edited(whole, 11, 2)) == decode(whole)).all()
    assert (decode(whole[:-2] + TRAILER) == decode(whole)).all()


CUTS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda data: data,
    "with an end marker": lambda data: data + END,
    "with zeros": lambda data: data + bytes(100_000),
    "with padding": lambda data: data + b"\xff" * 100_000,
    "from a camera": lambda data: edited(data, scan_parameters(data) + 1, 0),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}], ids=str)
def test_a_file_that_is_cut_short_is_refused_however_it_ends(
    options: dict[str, object], share: float, cut: str
) -> None:
    whole = encode(SMOOTH, "JPEG", **options)
    with pytest.raises(MediaError, match="damaged or incomplete"):
        decode(CUTS[cut](whole[: int(len(whole) * share)]))


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=str)
def test_a_file_without_its_end_marker_and_nothing_behind_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(MediaError, match="damaged or incomplete"):
        decode(encode(SMOOTH, "JPEG", **options)[:-2])


def factors_of_three() -> list[Factors]:
    """All sampling factors of luma with equal ones of both chromas, and 200 of all three."""
    equal: list[Factors] = [(luma, chroma, chroma) for luma, chroma in itertools.product(FACTORS, FACTORS)]
    unlike = list(itertools.product(FACTORS, FACTORS, FACTORS))
    return equal + random.Random(0).sample(unlike, 200)


@pytest.mark.parametrize("by_scan", [False, True])
def test_files_of_any_sampling_factors_that_libjpeg_decodes_are_served(*, by_scan: bool) -> None:
    served = 0
    for factors in factors_of_three():
        if not by_scan and sum(across * down for across, down in factors) > MOST_BLOCKS:
            continue
        data = jpeg_writer.write((37, 29), factors, 4, 0, by_scan=by_scan)
        expected = by_pillow(data)
        if expected is None:  # a factor of 3 beside one of 2, and the like
            with pytest.raises(MediaError, match="damaged"):
                decode(data)
            continue
        served += 1
        for scales in (False, True):
            assert (decode(data, scales=scales)[0] == SquareResize(32)(expected)).all(), factors
    assert served > 50


@pytest.mark.parametrize("factors", [[(4, 2), (1, 1), (1, 1)], [(1, 4), (1, 1), (1, 1)], [(2, 2), (1, 2), (2, 1)]])
def test_luma_of_unusual_factors_has_the_values_that_were_written(factors: list[tuple[int, int]]) -> None:
    across, down = factors[0]
    size = (8 * across, 8 * down)
    data = jpeg_writer.write(size, factors, 1, 5, by_scan=False)
    blocks = np.random.default_rng(5).integers(-60, 61, (down * across, 1))  # a DC step of 8 is one level
    luma = np.repeat(np.repeat(128 + blocks.reshape(down, across), 8, 0), 8, 1)
    chroma = np.array([25.0, -25.0])  # of Cb and Cr, everywhere; JFIF's conversion (ITU-T T.871)
    red, blue = luma + 1.402 * chroma[1], luma + 1.772 * chroma[0]
    green = luma - 0.344136 * chroma[0] - 0.714136 * chroma[1]
    expected = np.stack([red, green, blue], -1).clip(0, 255)
    pixels = by_pillow(data)
    assert pixels is not None
    assert np.abs(pixels - expected).max() <= 1  # libjpeg's conversion is in whole numbers
    assert (decode(data)[0] == SquareResize(32)(pixels)).all()


@pytest.mark.parametrize("bits", [2, 12, 16])
def test_samples_of_other_than_eight_bits_are_refused_by_name(bits: int) -> None:
    data = encode(NOISE, "JPEG")
    frame = data.index(b"\xff\xc0")
    with pytest.raises(MediaError, match=f"a JPEG of {bits} bits a sample, which is not supported"):
        decode(edited(data, frame + 4, bits))


@pytest.mark.parametrize("field", [5, 6, 7, 8, 9])
def test_pillow_decodes_no_file_whose_frame_it_and_libjpeg_read_differently(
    field: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libjpeg would write beyond Pillow's buffer: the frame that was checked must be the one that Pillow read."""
    data = encode(NOISE, "JPEG")
    other = jpeg_guards.check_header(edited(data, data.index(b"\xff\xc0") + field, 1))
    monkeypatch.setattr(jpeg_guards, "check_header", lambda data: other)
    monkeypatch.setattr(jpeg, "decode", lambda data, header, min_side: None)
    with pytest.raises(MediaError, match="damaged or incomplete"):
        decode(data)


def test_a_list_of_further_pictures_that_is_wrong_is_not_read() -> None:
    whole = encode(NOISE, "JPEG")
    for content in (bytes(50), b"II*\0\x08\0\0\0\1\0\1\xb0\7\0\4\0\0\0" + b"0100", b"MM\0*" + b"\xff" * 60):
        assert (decode(whole[:2] + jpeg_writer.segment(0xE2, b"MPF\0" + content) + whole[2:]) == decode(whole)).all()


BROKEN_METADATA = {
    "JFIF": (0xE0, b"JFIF\0\1"),
    "Adobe": (0xEE, b"Adobe\0"),
    "a colour profile": (0xE2, b"ICC_PROFILE\0\1"),
}


@pytest.mark.parametrize("name", BROKEN_METADATA)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_metadata_that_pillow_cannot_read_is_passed_over(mode: str, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encode(SMOOTH.convert(mode), "JPEG", exif=exif)
    data = whole[:2] + jpeg_writer.segment(*BROKEN_METADATA[name]) + whole[2:]
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(data))
    assert (decode(data) == decode(whole)).all()  # turned, and in the right colours


def test_exif_data_at_which_pillow_fails_turns_nothing() -> None:
    whole = encode(SMOOTH, "JPEG")
    entries = struct.pack("<HHIIHHII", 0x011A, 2, 1, 0, 0x0128, 3, 1, 2)  # a resolution that is an empty text
    exif = b"Exif\0\0II*\0\x08\0\0\0\2\0" + entries + bytes(4)
    data = whole[:2] + jpeg_writer.segment(0xE1, exif) + whole[20:]
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(data))
    assert (decode(data) == decode(whole)).all()
