"""Scenes as image files."""

import base64
import io
import random

from PIL import Image

from llava_interleave_serve.demo.scenes.drawing import Scene


def image_bytes(scene: Scene, size: int, file_format: str) -> bytes:
    """Draws the scene into a square image file.

    size: the side in pixels. file_format: "PNG" or "JPEG".
    """
    buffer = io.BytesIO()
    Image.fromarray(scene.draw(size)).save(buffer, file_format, quality=92, optimize=True)
    return buffer.getvalue()


def image_url(scene: Scene, rng: random.Random) -> str:
    """Draws the scene into a PNG or JPEG file of 112 to 336 pixels a side, as a data URL."""
    file_format = rng.choice(("PNG", "JPEG"))
    content = image_bytes(scene, rng.randint(112, 336), file_format)
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(content).decode()}"
