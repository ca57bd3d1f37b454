"""From an image file to a view."""

import io

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, UnidentifiedImageError

from llava_interleave_serve.server.errors import LimitExceeded, MediaError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image import jpeg_guards, png
from llava_interleave_serve.server.media.image.squash import Squash
from llava_interleave_serve.server.observability import metrics
from llava_interleave_serve.server.observability.timing import RequestTiming

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
RGB = 3
WHITE = (255, 255, 255, 255)
# What an orientation of EXIF asks for: a mirror image or not, and then so many quarter turns to the left.
ORIENTATIONS = {
    2: (True, 0),
    3: (False, 2),
    4: (True, 2),
    5: (True, 1),
    6: (False, 3),
    7: (True, 3),
    8: (False, 1),
}
SIDEWAYS = (5, 6, 7, 8)  # orientations that make rows of columns


def decode_image(data: bytes, squash: Squash, limits: Limits, phases: RequestTiming) -> np.ndarray:
    """The image as a person would see it, squashed to one view: uint8 [1, S, S, 3], RGB.

    The first frame of an animation; turned as its EXIF data says; transparency over white. Raises MediaError for what
    is not a whole JPEG, PNG, WebP, GIF or BMP, LimitExceeded for too many pixels, read from the header; both of
    the option `url`.
    """
    if not data:
        raise MediaError("the image is empty: 0 bytes", param="url")
    if jpeg_guards.is_segmented_too_much(data):
        raise LimitExceeded(f"the image has more than {jpeg_guards.MOST_EXIF_SEGMENTS} Exif segments", param="url")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            limits.check_size("the image has", image.width, image.height)
            if "progressive" in image.info and jpeg_guards.is_scanned_too_often(data):
                raise LimitExceeded(f"the image has more than {jpeg_guards.MOST_SCANS} scans", param="url")
            with phases.measure("decode"):
                pixels = _pixels(image, data, squash.least)
                metrics.MEDIA_PIXELS.labels("image").inc(image.width * image.height)
                # PNG's own getexif would load the picture once more, for data behind it.
                orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except UnidentifiedImageError:
        raise MediaError("this is not a JPEG, PNG, WebP, GIF or BMP image", param="url") from None
    except LimitExceeded:
        raise
    except Exception:  # noqa: BLE001 - on damaged bytes Pillow's decoders raise whatever their parts do, struct.error too
        raise MediaError("the image is damaged or incomplete", param="url") from None
    with phases.measure("preprocess"):
        # Turned once it is small; what will be columns is squashed first, as if it had been turned before.
        return turned(squash(pixels, rows_first=orientation in SIDEWAYS), orientation)[None]


def _pixels(image: Image.Image, data: bytes, least: int) -> np.ndarray:
    """The picture as it lies in the file, a JPEG smaller if `least` pixels a side are enough: uint8 [H, W, 3], RGB."""
    if image.format == "JPEG" and image.mode in ("RGB", "L"):
        # The decoder that Pillow has, straight into an array: two thirds of the time at 1280x720, half at 4000x3000.
        try:
            pixels: np.ndarray = simplejpeg.decode_jpeg(
                data,
                "RGB",
                min_height=least,
                min_width=least,
                min_factor=2.0 if least else 1.0,  # by less it takes longer than the whole
            )
            return pixels
        except ValueError as error:
            if "extraneous bytes" not in str(error):  # which cameras leave between markers, and are no part of it
                raise
    plain = png.decode(data) if image.format == "PNG" else None
    if plain is None:
        image.load()
    elif plain.shape[2] == RGB:
        return plain
    else:
        image = Image.fromarray(plain.squeeze(2) if plain.shape[2] == 1 else plain)
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a pixel; Pillow's own conversion would clip
        levels = np.asarray(image).astype(np.float64)
        grey = np.rint(levels / 257.0).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def turned(view: np.ndarray, orientation: int) -> np.ndarray:
    """A view [S, S, 3] as EXIF's orientation says that it is to be seen; as it is for one that EXIF does not know."""
    is_mirrored, turns = ORIENTATIONS.get(orientation, (False, 0))
    return np.ascontiguousarray(np.rot90(view[:, ::-1] if is_mirrored else view, turns))
