"""Scenes as MP4 files."""

import base64
from collections.abc import Sequence

from llava_interleave_serve.demo.scenes.drawing import Scene
from llava_interleave_serve.demo.scenes.mp4 import write_mp4

FPS = 8
SIZE = 224


def video_bytes(scenes: Sequence[Scene], size: int = SIZE) -> bytes:
    """Draws the scenes as the frames of an MP4 file of FPS frames a second.

    size: the side in pixels.
    """
    return write_mp4((scene.draw(size) for scene in scenes), FPS)


def video_url(scenes: Sequence[Scene]) -> str:
    """Draws the scenes as the frames of an MP4 file, as a data URL."""
    return f"data:video/mp4;base64,{base64.b64encode(video_bytes(scenes)).decode()}"
