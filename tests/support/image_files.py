"""Image files in memory."""

import io
from typing import Any

import numpy as np
from PIL import Image

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Returns the image as a file. kind: a format of Pillow's; options: those of its encoder."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
