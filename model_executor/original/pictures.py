"""Pictures and videos of plain vLLM as visuals, by a checkpoint's visual format; our server makes its own."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from llava_interleave_serve.model_executor.any_resolution import Layout
from llava_interleave_serve.model_executor.visual import UNPOOLED, Visual, VisualFormat, frame_newlines

PADDING = (127, 127, 127)  # int(255 * the mean of 0.5)


def visual(picture: Image.Image, size: int, visual_format: VisualFormat) -> Visual:
    """A picture as the authors' `process_images` reads it (LLaVA-NeXT, llava/mm_utils.py).

    picture: of mode RGB. size: the side of a view, in pixels.

    Raises ValueError for a picture without pixels.
    """
    if min(picture.size) < 1:
        raise ValueError(f"a picture of {picture.width}x{picture.height} pixels has no views")
    if visual_format.any_resolution is not None:
        layout = visual_format.any_resolution.layout(*picture.size)
        return Visual(_any_resolution(picture, size, layout), layout=layout)
    return Visual(one_view(picture, size, "pad" if visual_format.resizing == "pad" else "squash")[None])


def one_view(picture: Image.Image, size: int, resizing: Literal["squash", "pad"]) -> np.ndarray:
    """A picture of mode RGB as one view: uint8 [size, size, 3]."""
    return _squashed(_padded(picture) if resizing == "pad" else picture, size)


def video(frames: Sequence[Image.Image], size: int, visual_format: VisualFormat) -> list[Visual]:
    """A video's frames as the authors read them: squashed, pooled and with newlines by the checkpoint's format.

    frames: of mode RGB, at least one.
    """
    pooling = visual_format.video_pooling
    position = "no_token" if pooling is None else visual_format.video_newline
    newlines = frame_newlines(position, len(frames))
    return [
        Visual(_squashed(frame, size)[None], pooling or UNPOOLED, newline)
        for frame, newline in zip(frames, newlines, strict=True)
    ]


def _squashed(picture: Image.Image, size: int) -> np.ndarray:
    return np.array(picture.resize((size, size), Image.Resampling.BICUBIC))


def _padded(picture: Image.Image) -> Image.Image:
    side = max(picture.size)
    square = Image.new("RGB", (side, side), PADDING)
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


def _any_resolution(picture: Image.Image, size: int, layout: Layout) -> np.ndarray:
    """The whole picture, squashed, and the tiles of its canvas: uint8 [n, S, S, 3]."""
    canvas = Image.new("RGB", layout.canvas)
    canvas.paste(picture.resize(layout.picture, Image.Resampling.BICUBIC), layout.offset)
    across, down = layout.tiles
    tiles = np.asarray(canvas).reshape(down, size, across, size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)
    return np.concatenate((_squashed(picture, size)[None], tiles))
