"""Pictures as files of several formats and qualities."""

import base64
import io
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP")
LEAST_QUALITY, GREATEST_QUALITY = 30, 95
LEAST_QUALITY_OF_DETAIL = 70  # what is 8 pixels wide is lost below it


@dataclass(frozen=True)
class PictureFile:
    """A picture's encoded bytes.

    media_type: such as "image/png".
    """

    content: bytes
    media_type: str

    @property
    def pixels(self) -> np.ndarray:
        """The picture that the bytes decode to: uint8 [H, W, 3], RGB."""
        with Image.open(io.BytesIO(self.content)) as image:
            return np.asarray(image.convert("RGB"))

    @property
    def url(self) -> str:
        """A data URL."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.content).decode()}"


def encode(picture: np.ndarray, rng: random.Random, detailed: bool) -> PictureFile:
    """Encodes a picture in a format and quality that the generator chooses.

    picture: uint8 [H, W, 3], RGB. detailed: True if it shows small things, for which the quality stays above 70.
    """
    file_format = rng.choice(FORMATS)
    if file_format == "PNG":
        return lossless(picture)
    quality = rng.randint(LEAST_QUALITY_OF_DETAIL if detailed else LEAST_QUALITY, GREATEST_QUALITY)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, file_format, quality=quality)
    return PictureFile(buffer.getvalue(), f"image/{file_format.lower()}")


def lossless(picture: np.ndarray) -> PictureFile:
    """Encodes a picture as PNG.

    picture: uint8 [H, W, 3], RGB.
    """
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return PictureFile(buffer.getvalue(), "image/png")
