"""Decodes an image file to one view, the square of pixels that the vision tower takes."""

import io
from collections.abc import Callable

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, UnidentifiedImageError

from llava_interleave_serve.server.errors import LimitExceeded, MediaError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image import gif_guards, jpeg_guards, png, png_guards
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.observability.timing import RequestTiming

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
RGB_CHANNELS = 3
# Values of a BMP's `compression`. Pillow decodes them in Python, half a second a megapixel, and nobody sends them.
RUN_LENGTHS = (1, 2)
WHITE = (255, 255, 255, 255)
# For each Exif orientation but 1, the upright one: (True to mirror left and right first, quarter turns to the left).
ORIENTATIONS = {
    2: (True, 0),
    3: (False, 2),
    4: (True, 2),
    5: (True, 1),
    6: (False, 3),
    7: (True, 3),
    8: (False, 1),
}
QUARTER_TURNED = (5, 6, 7, 8)  # orientations that exchange width and height


def approve_all(pixels: int, pictures: int) -> None:
    """Lets every picture be decoded."""


def decode_image(
    data: bytes,
    resize: SquareResize,
    limits: Limits,
    timing: RequestTiming,
    approve: Callable[[int, int], None] = approve_all,
) -> np.ndarray:
    """Decodes an image as a viewer would show it, and resizes it to one view: uint8 [1, S, S, 3], RGB.

    Of an animation, the first frame; turned by its Exif orientation; transparency blended over white. Raises MediaError
    for anything but a whole JPEG, PNG, WebP, GIF or BMP, and LimitExceeded for too many pixels, which are read from the
    header, or a file that jpeg_guards refuses; both name the option `url`. Raises MemoryError.

    approve: called with the number of pixels, and of pictures (1), before they are decoded.
    """
    if not data:
        raise MediaError("the image is empty: 0 bytes", param="url")
    jpeg_header = jpeg_guards.check_header(data)
    png_guards.check_chunks(data)
    gif_guards.check_blocks(data)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            limits.check_size("the image has", image.width, image.height)
            if image.format == "BMP" and image.info.get("compression") in RUN_LENGTHS:
                raise MediaError("the image is a BMP of run lengths, which is not supported", param="url")
            if jpeg_header is not None:
                jpeg_guards.check_scans(data, jpeg_header, image.width * image.height, limits.max_pixels)
            approve(image.width * image.height, 1)
            with timing.measure("decode"):
                pixels = _decode_pixels(image, data, resize.min_jpeg_side)
                # PngImageFile.getexif would decode the image once more, to find Exif data behind the pixels.
                orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except UnidentifiedImageError:
        raise MediaError("this is not a JPEG, PNG, WebP, GIF or BMP image", param="url") from None
    except (LimitExceeded, MediaError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - on damaged bytes Pillow's decoders raise whatever their parts do, struct.error too
        raise MediaError("the image is damaged or incomplete", param="url") from None
    with timing.measure("preprocess"):
        # The view is turned, not the image, which is larger; `height_first` makes the result that of turning the image.
        return _apply_orientation(resize(pixels, height_first=orientation in QUARTER_TURNED), orientation)[None]


def _decode_pixels(image: Image.Image, data: bytes, min_jpeg_side: int) -> np.ndarray:
    """Decodes the pixels as they are stored, not turned by Exif: uint8 [H, W, 3], RGB.

    min_jpeg_side: lets a JPEG be decoded at a fraction of its size that leaves each side so many pixels; 0: full size.
    """
    if image.format == "JPEG" and image.mode in ("RGB", "L"):
        # libjpeg-turbo, which Pillow has too, but straight into an array: two thirds of Pillow's time at 1280x720, half
        # at 4000x3000.
        try:
            if simplejpeg.decode_jpeg_header(data)[1::-1] != image.size:
                raise MediaError("the image is damaged or incomplete", param="url")
            pixels: np.ndarray = simplejpeg.decode_jpeg(
                data,
                "RGB",
                min_height=min_jpeg_side,
                min_width=min_jpeg_side,
                min_factor=2.0 if min_jpeg_side else 1.0,  # a fraction above 1/2 takes longer than full size
            )
            return pixels
        except ValueError as error:
            if "extraneous bytes" not in str(error):  # which cameras leave between segments; Pillow skips them
                raise
    plain = png.decode(data, image.size) if image.format == "PNG" else None
    if plain is None:
        image.load()
    elif plain.shape[2] == RGB_CHANNELS:
        return plain
    else:
        image = Image.fromarray(plain.squeeze(2) if plain.shape[2] == 1 else plain)
    return _as_rgb(image)


def _as_rgb(image: Image.Image) -> np.ndarray:
    """Converts an image of any mode to uint8 [H, W, 3], RGB, with transparency blended over white."""
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a pixel, which Pillow's own conversion would clip
        levels = np.asarray(image).astype(np.float64)
        grey = np.rint(levels / 257.0).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _apply_orientation(view: np.ndarray, orientation: int) -> np.ndarray:
    """Turns and mirrors a view [S, S, 3] by its Exif orientation; values that Exif does not define change nothing."""
    is_mirrored, turns = ORIENTATIONS.get(orientation, (False, 0))
    return np.ascontiguousarray(np.rot90(view[:, ::-1] if is_mirrored else view, turns))
