"""Decodes an image file to one view, the square of pixels that the vision tower takes."""

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from PIL import AvifImagePlugin, Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from llava_interleave_serve.model_executor.visual import Resizing
from llava_interleave_serve.server.errors import LimitExceeded, MediaError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image import (
    avif_guards,
    gif_guards,
    jpeg,
    jpeg_guards,
    orientations,
    png,
    png_guards,
    png_transparency,
    views,
)
from llava_interleave_serve.server.media.image.picture import Picture
from llava_interleave_serve.server.media.image.refusals import FORMATS, damaged, unidentified
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.image.transparency import over_white
from llava_interleave_serve.server.observability.timing import RequestTiming

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # for each picture; there is a decoder on every core already
RGB_CHANNELS = 3
PILLOW_MODULES = r"PIL\."
PILLOW_FILTER = ("ignore", None, Warning, re.compile(PILLOW_MODULES), 0)  # as warnings.filterwarnings writes it
# Values of a BMP's `compression`. Pillow decodes them in Python, half a second a megapixel, and nobody sends them.
RUN_LENGTHS = (1, 2)


def approve_all(pixels: int, pictures: int) -> None:
    """Lets every picture be decoded."""


def decode_image(
    data: bytes,
    resize: SquareResize,
    limits: Limits,
    timing: RequestTiming,
    approve: Callable[[int, int], None] = approve_all,
    resizing: Resizing = "squash",
) -> Picture:
    """Decodes an image as a viewer would show it, and makes its views.

    Of an animation, the first frame; turned by its Exif orientation, or by an AVIF's own; transparency blended over
    white, unless `resize` drops it. Raises MediaError for anything but a whole JPEG, PNG, WebP, GIF, BMP or AVIF, and
    LimitExceeded for too many pixels, which are read from the header, or a file that one of the guards refuses; both
    name the option `url`. Raises MemoryError.

    approve: called with the number of pixels, and of pictures (1), before they are decoded.
    resizing: how the views are made; "anyres" where `resize` has an `any_resolution`.
    """
    with _opened(data, limits) as (image, content, jpeg_header):
        if jpeg_header is not None:
            jpeg_guards.check_scans(content, jpeg_header, image.width * image.height, limits.max_pixels)
        approve(image.width * image.height, 1)
        with timing.measure("decode"):
            min_jpeg_side = views.min_jpeg_side(image.size, resize, resizing)
            pixels = _decode_pixels(image, content, jpeg_header, min_jpeg_side, drops_alpha=resize.drops_alpha)
            orientation = orientations.read(image)
        width, height = orientations.upright(image.size, orientation)
    with timing.measure("preprocess"):
        return Picture(views.make(pixels, (width, height), orientation, resize, resizing), width, height)


def read_size(data: bytes, limits: Limits) -> tuple[int, int]:
    """Reads the width and height of an image as a viewer would show it, without decoding it.

    Raises as `decode_image` does.
    """
    with _opened(data, limits) as (image, content, _):
        if image.format == "PNG":  # its Exif data may stand behind the pixels, where Pillow does not look yet
            image.info["exif"] = png_guards.exif(content)
        return orientations.upright(image.size, orientations.read(image))


@contextlib.contextmanager
def _opened(data: bytes, limits: Limits) -> Iterator[tuple[Image.Image, bytes, jpeg_guards.JpegHeader | None]]:
    """Opens an image file that the guards let pass; what goes wrong with it inside the block is damage, too.

    Yields Pillow's image, the file's content as it is to be decoded, and the header of a JPEG.
    """
    if not data:
        raise MediaError("the image is empty: 0 bytes", param="url")
    _ignore_warnings()
    jpeg_header = jpeg_guards.check_header(data)
    png_guards.check_chunks(data)
    gif_guards.check_blocks(data)
    data = avif_guards.checked(data, limits)
    try:
        with _open(data, jpeg_header) as image:
            limits.check_size("the image has", image.width, image.height)
            if image.format == "BMP" and image.info.get("compression") in RUN_LENGTHS:
                raise MediaError("the image is a BMP of run lengths, which is not supported", param="url")
            yield image, data, jpeg_header
    except (UnidentifiedImageError, SyntaxError):
        raise unidentified(data) from None
    except (LimitExceeded, MediaError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - on damaged bytes Pillow's decoders raise whatever their parts do, struct.error too
        raise damaged() from None


def _ignore_warnings() -> None:
    """Has Python drop what Pillow warns of, of which it would keep each different text, and print it.

    A file can contain 65,536 of them. The filter is the process's own, since warnings.catch_warnings is not for
    threads, and the first one, whatever other libraries have put in front of it.
    """
    first = warnings.filters[0] if warnings.filters else None
    if first != PILLOW_FILTER:
        warnings.filterwarnings("ignore", module=PILLOW_MODULES)


def _open(data: bytes, jpeg_header: jpeg_guards.JpegHeader | None) -> Image.Image:
    """Reads the headers of an image file."""
    if jpeg_header is None:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    image = _open_jpeg(data)
    # libjpeg, which does not look at it again, writes lines of the frame's width into a buffer of this one's.
    if (image.size, image.layers) != (jpeg_header.size, jpeg_header.components):
        raise damaged()
    return image


def _open_jpeg(data: bytes) -> JpegImageFile:
    """Reads the headers of a JPEG, as far as Pillow can; it fails at metadata that libjpeg passes over.

    Image.open would go on to the further pictures that a phone's file may list, and fail where the list is wrong.
    """
    for kept in (None, (jpeg_guards.EXIF, jpeg_guards.ADOBE), (jpeg_guards.ADOBE,)):
        content = data if kept is None else jpeg_guards.without_metadata(data, kept)
        with contextlib.suppress(SyntaxError):
            return JpegImageFile(io.BytesIO(content))
    raise damaged()


def _decode_pixels(
    image: Image.Image,
    data: bytes,
    jpeg_header: jpeg_guards.JpegHeader | None,
    min_jpeg_side: int,
    *,
    drops_alpha: bool,
) -> np.ndarray:
    """Decodes the pixels as they are stored, not turned by Exif: uint8 [H, W, 3], RGB.

    min_jpeg_side: lets a JPEG be decoded at a fraction of its size that leaves each side so many pixels; 0: full size.
    """
    plain = None
    if jpeg_header is not None and image.mode in ("RGB", "L"):
        plain = jpeg.decode(data, jpeg_header, min_jpeg_side)
    elif image.format == "PNG":
        plain = png.decode(data, image.size)
    if plain is None:
        return _as_rgb(image, data, drops_alpha=drops_alpha)
    if plain.shape[2] == RGB_CHANNELS:
        return plain
    decoded = Image.fromarray(plain.squeeze(2) if plain.shape[2] == 1 else plain)
    return _as_rgb(decoded, data, drops_alpha=drops_alpha)


def _as_rgb(image: Image.Image, data: bytes, *, drops_alpha: bool) -> np.ndarray:
    """Converts an image of any mode to uint8 [H, W, 3], RGB, with transparency blended over white, or dropped."""
    is_transparent = png_transparency.find(image, data) if image.format == "PNG" else None
    image.load()
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a pixel, which Pillow's own conversion would clip
        levels = np.asarray(image).astype(np.float64)
        grey = np.rint(levels / 257.0).clip(0, 255).astype(np.uint8)
        pixels = np.repeat(grey[..., None], 3, axis=2)
    else:
        has_alpha = "A" in image.getbands() or (is_transparent is None and "transparency" in image.info)
        if has_alpha and not drops_alpha:
            image = over_white(image.convert("RGBA"))
        pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    if is_transparent is not None and not drops_alpha:
        pixels = np.where(is_transparent[..., None], np.uint8(255), pixels)
    return pixels
