"""The views of a picture are the authors', to the byte; tests/support/original has what their code made."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llava_interleave_serve.model_executor.any_resolution import AnyResolution
from llava_interleave_serve.model_executor.visual import Resizing
from llava_interleave_serve.server.errors import LimitExceeded
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image import resize
from llava_interleave_serve.server.media.image.decode import decode_image, read_size
from llava_interleave_serve.server.media.image.picture import Picture
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.native import build
from llava_interleave_serve.server.observability.timing import RequestTiming
from tests.support.image_files import encode

ORIGINAL = Path(__file__).parents[3] / "support" / "original"
GEOMETRY: dict[str, Any] = json.loads((ORIGINAL / "anyres_geometry.json").read_text())
PUBLISHED = AnyResolution(tuple((width, height) for width, height in GEOMETRY["pinpoints_wh"]), 384, 27)
TINY = AnyResolution(((76, 152), (152, 76), (152, 152), (228, 76), (76, 228)), 76, 5)
SMALL = AnyResolution(((16, 32), (32, 16), (32, 32), (48, 16), (16, 48)), 16, 1)
ORIENTATION = 0x0112  # the tag
# What makes a picture of an orientation upright, by Exif 2.32, 4.6.4.
TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.fixture(params=["C", "Pillow"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to resize."""
    if request.param == "Pillow":
        monkeypatch.setattr(build, "library", lambda: None)


def picture(data: bytes, checkpoint: AnyResolution, resizing: Resizing) -> Picture:
    square = SquareResize(checkpoint.tile, any_resolution=checkpoint, drops_alpha=True)  # as the authors do
    return decode_image(data, square, Limits(), RequestTiming(), resizing=resizing)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("case", GEOMETRY["views_at_384"])
def test_the_views_of_the_published_sizes_have_the_authors_checksums(case: str) -> None:
    name, _, resizing = case.partition(":")
    expected = GEOMETRY["views_at_384"][case]
    views = picture((ORIGINAL / name).read_bytes(), PUBLISHED, resizing).views  # type: ignore[arg-type]
    channels_first = np.ascontiguousarray(views.transpose(0, 3, 1, 2))
    assert len(views) == expected["views"]
    assert hashlib.sha256(channels_first.tobytes()).hexdigest() == expected["sha256_uint8_NCHW"]


@pytest.mark.parametrize(
    ("case", "files", "resizing"),
    [
        ("a_land", ["land.png"], "anyres"),
        ("a_wide6", ["wide6.png"], "anyres"),
        ("e_pad_stacked", ["wide6.png", "port.png"], "pad"),
    ],
)
def test_the_views_of_the_small_checkpoints_are_the_authors_to_the_byte(
    case: str, files: list[str], resizing: Resizing
) -> None:
    with np.load(ORIGINAL / "full.npz") as arrays:
        expected = arrays[f"{case}.views_uint8"].transpose(0, 2, 3, 1)
    views = [picture((ORIGINAL / file).read_bytes(), TINY, resizing).views for file in files]
    assert (np.concatenate(views) == expected).all()


def resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """Resizes the width first, as Pillow did when the checkpoints were evaluated; see test_resize.py."""
    return image.resize((width, image.height)).resize((width, height))


def pillow_views(image: Image.Image, resizing: Resizing) -> np.ndarray:
    """The views of an upright picture by Pillow alone, in the authors' way."""
    side = SMALL.tile
    if resizing == "pad":
        square = Image.new("RGB", (max(image.size),) * 2, (127, 127, 127))
        square.paste(image, ((square.width - image.width) // 2, (square.height - image.height) // 2))
        return np.asarray(resized(square, side, side))[None]
    layout = SMALL.layout(*image.size)
    canvas = Image.new("RGB", layout.canvas, (0, 0, 0))
    canvas.paste(resized(image, *layout.picture), layout.offset)
    boxes = [(x, y, x + side, y + side) for y in range(0, canvas.height, side) for x in range(0, canvas.width, side)]
    return np.stack([np.asarray(each) for each in (resized(image, side, side), *map(canvas.crop, boxes))])


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("resizing", ["pad", "anyres"])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (7, 300), (301, 8), (16, 16), (200, 151), (5, 9), (90, 91)])
def test_the_views_of_any_shape_are_pillows(size: tuple[int, int], resizing: Resizing) -> None:
    pixels = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    result = picture(encode(Image.fromarray(pixels)), SMALL, resizing)
    expected = pillow_views(Image.fromarray(pixels), resizing)
    assert (result.width, result.height) == size
    assert (result.views == expected).all()


@pytest.mark.parametrize("resizing", ["squash", "pad", "anyres"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_before_it_is_cut(orientation: int, resizing: Resizing) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (41, 90, 3), np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(Image.fromarray(pixels), exif=exif)
    method = TRANSPOSES.get(orientation)
    turned = np.asarray(Image.fromarray(pixels).transpose(method) if method is not None else Image.fromarray(pixels))
    upright = encode(Image.fromarray(np.ascontiguousarray(turned)))
    result = picture(data, SMALL, resizing)
    assert (result.views == picture(upright, SMALL, resizing).views).all()
    assert (result.width, result.height) == read_size(data, Limits()) == (turned.shape[1], turned.shape[0])


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_size_is_read_without_decoding_as_it_is_decoded(name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {} if name in ("GIF", "BMP") else {"exif": exif}
    data = encode(Image.new("RGB", (70, 30), (9, 8, 7)), name, **options)
    decoded = picture(data, SMALL, "anyres")
    assert read_size(data, Limits()) == (decoded.width, decoded.height)
    assert sorted((decoded.width, decoded.height)) == [30, 70]


def test_exif_behind_the_pixels_of_a_png_turns_its_size_too() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    data = encode(Image.new("RGB", (70, 30)), exif=exif)
    start = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[start : start + 4])
    end = data.index(b"IEND") - 4
    moved = data[:start] + data[start + length : end] + data[start : start + length] + data[end:]
    assert read_size(moved, Limits()) == (30, 70) == picture(moved, SMALL, "anyres")[1:]


def test_a_size_over_the_limit_is_refused_where_it_is_read() -> None:
    with pytest.raises(LimitExceeded, match="70x30 pixels"):
        read_size(encode(Image.new("RGB", (70, 30))), Limits(max_pixels=1000))


def test_padding_a_strip_makes_no_square(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    pad = resize._pad

    def measured(*args: Any) -> np.ndarray:
        nonlocal most
        padded = pad(*args)
        most = max(most, padded.size)
        return padded

    monkeypatch.setattr(resize, "_pad", measured)
    strip = np.full((20_000, 16, 3), 7, np.uint8)
    assert SquareResize(16).padded(strip, 127).shape == (16, 16, 3)
    assert most <= 20_000 * 18 * 3


def test_a_scaled_jpeg_keeps_as_many_pixels_as_the_canvas_shows() -> None:
    image = Image.effect_noise((200, 150), 60).convert("RGB")
    data = encode(image, "JPEG", quality=95)
    square = SquareResize(16, scales_jpegs=True, any_resolution=SMALL)
    scaled = decode_image(data, square, Limits(), RequestTiming(), resizing="anyres")
    exact = picture(data, SMALL, "anyres")
    assert scaled[1:] == exact[1:] == (200, 150)
    assert scaled.views.shape == exact.views.shape
    assert np.abs(scaled.views.astype(int) - exact.views.astype(int)).mean() < 10


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_dropped_or_shown_over_white(mode: str) -> None:
    image = Image.new("RGBA", (16, 16), (40, 40, 40, 0)).convert(mode)
    options: dict[str, Any] = {"transparency": 0} if mode == "P" else {}
    data = encode(image, **options)
    for drops_alpha, value in ((True, 40), (False, 255)):
        square = SquareResize(16, drops_alpha=drops_alpha)
        assert (decode_image(data, square, Limits(), RequestTiming()).views == value).all()


def test_the_transparent_colour_of_a_png_is_dropped_or_shown_over_white() -> None:
    data = encode(Image.new("RGB", (16, 16), (40, 40, 40)), transparency=(40, 40, 40))
    for drops_alpha, value in ((True, 40), (False, 255)):
        square = SquareResize(16, drops_alpha=drops_alpha)
        assert (decode_image(data, square, Limits(), RequestTiming()).views == value).all()
