"""Image files of every served format, mode and orientation become views; anything else is refused."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from llava_interleave_serve.server.errors import LimitExceeded, MediaError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.observability.timing import RequestTiming

SIZE = 32
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def view(data: bytes, size: int = SIZE) -> np.ndarray:
    views = decode_image(data, SquareResize(size), Limits(), RequestTiming()).views
    assert views.dtype == np.uint8
    assert views.shape == (1, size, size, 3)
    return np.asarray(views[0])


def middle_pixel(data: bytes) -> tuple[int, ...]:
    return tuple(view(data)[SIZE // 2, SIZE // 2].tolist())


def pictures() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:300, 0:420]
    waves = 127 + 60 * np.sin(columns / 23.0) + 60 * np.cos(rows / 31.0 + columns / 57.0)
    lines = Image.new("RGB", (420, 300), "white")
    for x in range(0, 420, 11):
        ImageDraw.Draw(lines).line((x, 0, 420 - x, 300), fill=(x % 255, 0, 90), width=1 + x % 3)
    return {
        "like a photograph": np.stack([waves, waves[::-1], waves[:, ::-1]], -1).clip(0, 255).astype(np.uint8),
        "line art": np.asarray(lines),
        "noise": random.integers(0, 256, (300, 420, 3), dtype=np.uint8),
        "small, to be enlarged": random.integers(0, 256, (9, 5, 3), dtype=np.uint8),
        "one pixel": np.full((1, 1, 3), 99, np.uint8),
        "very long": random.integers(0, 256, (1, 3000, 3), dtype=np.uint8),
    }


def resized_by_pillow(picture: np.ndarray) -> np.ndarray:
    by_columns = Image.fromarray(picture).resize((SIZE, picture.shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(by_columns.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("name", pictures())
def test_resizing_gives_pillows_values(name: str) -> None:
    picture = pictures()[name]
    assert (SquareResize(SIZE)(picture) == resized_by_pillow(picture)).all()


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_resizing_gives_pillows_values_from_any_size_to_any_other(
    height: int, width: int, size: int, seed: int
) -> None:
    picture = np.random.default_rng(seed).integers(0, 2, (height, width, 3), dtype=np.uint8) * 255
    by_columns = Image.fromarray(picture).resize((size, height), Image.Resampling.BICUBIC)
    expected = by_columns.resize((size, size), Image.Resampling.BICUBIC)
    assert (SquareResize(size)(picture) == np.asarray(expected)).all()


def test_a_picture_of_the_size_of_a_view_is_unchanged() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    assert (SquareResize(SIZE)(picture) == picture).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
def test_every_served_image_format_is_decoded(kind: str) -> None:
    pixel = middle_pixel(saved(Image.new("RGB", (40, 30), RED), kind))
    assert np.abs(np.array(pixel) - RED).max() <= 3


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("1", (8, 8), 1), "PNG", WHITE),
        (Image.new("L", (8, 8), 100), "PNG", (100, 100, 100)),
        (Image.new("LA", (8, 8), (0, 0)), "PNG", WHITE),
        (Image.new("LA", (8, 8), (100, 255)), "PNG", (100, 100, 100)),
        (Image.new("RGBA", (8, 8), (0, 0, 255, 0)), "PNG", WHITE),
        (Image.new("RGBA", (8, 8), (0, 0, 255, 255)), "PNG", BLUE),
        (Image.new("RGBA", (8, 8), (0, 0, 255, 128)), "PNG", (127, 127, 255)),
        (Image.fromarray(np.full((8, 8), 51400, np.uint16)), "PNG", (200, 200, 200)),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", RED),
        (Image.new("RGB", (8, 8), GREEN).quantize(4), "PNG", GREEN),
    ],
    ids=["1-bit", "grey", "transparent grey", "grey with alpha", "transparent", "opaque", "half", "16-bit",
         "CMYK", "palette"],
)  # fmt: skip
def test_every_image_mode_is_decoded_to_the_colour_that_a_viewer_shows(
    image: Image.Image, kind: str, expected: tuple[int, ...]
) -> None:
    assert np.abs(np.array(middle_pixel(saved(image, kind))) - expected).max() <= 3


def test_a_transparent_colour_of_a_palette_is_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert middle_pixel(saved(image, "PNG", transparency=1)) == WHITE


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = Image.new("RGB", (32, 32), WHITE)
    upright.paste(RED, (0, 0, 16, 16))
    upright.paste(BLUE, (16, 0, 32, 16))
    inverses = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # members of Transpose that undo each orientation
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(inverses[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = view(saved(stored, "PNG", exif=exif))
    assert tuple(pixels[4, 4]) == RED
    assert tuple(pixels[4, 28]) == BLUE


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_in_xmp_alone_turns_nothing(kind: str) -> None:
    """Browsers look at Exif data alone."""
    picture = Image.fromarray(pictures()["like a photograph"])
    with_xmp: dict[str, object] = {"xmp": XMP}
    if kind == "PNG":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        with_xmp = {"pnginfo": text}
    with Image.open(io.BytesIO(saved(picture, kind, **with_xmp))) as image:
        assert image.getexif()[0x0112] == 6  # what Pillow alone would turn
    assert (view(saved(picture, kind, **with_xmp)) == view(saved(picture, kind))).all()


def test_an_orientation_in_a_text_of_a_png_turns_nothing() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif.tobytes()):8}\n{exif.tobytes().hex()}\n")
    picture = Image.fromarray(pictures()["like a photograph"])
    assert (view(saved(picture, pnginfo=text)) == view(saved(picture))).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("content", [b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"text"])
def test_exif_data_that_cannot_be_read_turns_nothing(kind: str, content: bytes) -> None:
    picture = Image.fromarray(pictures()["like a photograph"])
    assert (view(saved(picture, kind, exif=b"Exif\0\0" + content)) == view(saved(picture, kind))).all()


def test_an_animation_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (GREEN, RED)]
    assert middle_pixel(saved(frames[0], "GIF", save_all=True, append_images=frames[1:])) == GREEN


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
def test_a_truncated_image_is_refused(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = saved(noise, kind)
    with pytest.raises(MediaError):
        view(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes"),
        (b"hello", "this is not a JPEG, PNG, WebP, GIF, BMP or AVIF image"),
        (saved(Image.new("RGB", (8, 8)), "PPM"), "this is not a JPEG, PNG, WebP, GIF, BMP or AVIF image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "damaged"),
    ],
)
def test_image_formats_that_are_not_served_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(MediaError, match=message) as refusal:
        decode_image(data, SquareResize(SIZE), Limits(max_pixels=1000), RequestTiming())
    assert refusal.value.param == "url"


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header has this width and height, without any pixels."""
    fields = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    chunk = b"IHDR" + fields
    end = b"\0\0\0\0IEND\xaeB`\x82"
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + chunk + zlib.crc32(chunk).to_bytes(4, "big") + end


def test_an_image_of_too_many_pixels_is_refused_by_its_header() -> None:
    with pytest.raises(LimitExceeded, match="5000x4000 pixels, more than the 1000000 allowed"):
        decode_image(png_header(5000, 4000), SquareResize(SIZE), Limits(max_pixels=1_000_000), RequestTiming())


def test_an_image_with_too_long_a_side_is_refused() -> None:
    with pytest.raises(LimitExceeded, match="70000x1 pixels, more than the 65535 allowed along a side"):
        decode_image(png_header(70_000, 1), SquareResize(SIZE), Limits(), RequestTiming())


def test_a_decompression_bomb_is_refused() -> None:
    with pytest.raises((LimitExceeded, MediaError)):
        decode_image(png_header(100_000, 100_000), SquareResize(SIZE), Limits(max_pixels=50_000_000), RequestTiming())


SAMPLES = [
    saved(Image.fromarray(pictures()["noise"][:40, :40]), kind)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
]


@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_images_are_decoded_or_refused_with_a_media_error(sample: bytes, damage: list[tuple[int, int]]) -> None:
    data = bytearray(sample)
    for position, value in damage:
        data[position % len(data)] = value
    try:
        view(bytes(data))
    except MediaError:
        return
    except LimitExceeded:
        return
