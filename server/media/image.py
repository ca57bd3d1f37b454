"""From an image file to a view."""

import io

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from llava_interleave_serve.server import metrics
from llava_interleave_serve.server.errors import LimitExceeded, MediaError
from llava_interleave_serve.server.phases import Phases

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
WHITE = (255, 255, 255, 255)


def decode(data: bytes, size: int, max_pixels: int, phases: Phases) -> np.ndarray:
    """The image as a person would see it, squashed to one view: uint8 [1, size, size, 3], RGB.

    The first frame of an animation; turned as its EXIF data says; transparency over white. Raises MediaError for what
    is not a whole JPEG, PNG, WebP, GIF or BMP, LimitExceeded for more than `max_pixels`, read from the header;
    both of the option `url`.
    """
    if not data:
        raise MediaError("the image is empty: 0 bytes", param="url")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise LimitExceeded(
                    f"the image has {image.width}x{image.height} pixels, more than the {max_pixels} allowed",
                    param="url",
                )
            with phases.measure("decode"):
                pixels = np.asarray(_as_seen(image))
    except UnidentifiedImageError:
        raise MediaError("this is not a JPEG, PNG, WebP, GIF or BMP image", param="url") from None
    # Pillow's decoders raise these, and nothing else, on bytes that are damaged or cut short.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, Image.DecompressionBombError):
        raise MediaError("the image is damaged or incomplete", param="url") from None
    metrics.MEDIA_PIXELS.labels("image").inc(pixels.shape[0] * pixels.shape[1])
    with phases.measure("preprocess"):
        return squash(pixels, size)[None]


def _as_seen(image: Image.Image) -> Image.Image:
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a pixel; Pillow's own conversion would clip
        levels = np.asarray(image).astype(np.float64)
        return Image.fromarray((levels / 257.0).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image).convert("RGB")
    return image.convert("RGB")


def squash(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resizes uint8 [H, W, 3] to [size, size, 3] by an antialiased bicubic.

    At most one level from Pillow's, and several times faster.
    """
    if pixels.shape[:2] == (size, size):
        return np.ascontiguousarray(pixels)
    planes = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(planes, (size, size), mode="bicubic", antialias=True, align_corners=False)
    view: np.ndarray = resized[0].permute(1, 2, 0).contiguous().numpy()
    return view
