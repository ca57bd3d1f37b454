"""Makes the views of a picture, the squares of pixels that the vision tower takes, to the byte as the authors do.

Source: LLaVA-NeXT, llava/mm_utils.py (`process_images`: `resize_and_pad_image`, `divide_to_patches`, `expand2square`).
"""

import numpy as np

from llava_interleave_serve.model_executor.visual import Resizing
from llava_interleave_serve.server.media.image import orientations
from llava_interleave_serve.server.media.image.resize import SquareResize

GREY = 127  # int(255 * 0.5): the tower's mean, with which a picture is padded


def make(
    pixels: np.ndarray, size: tuple[int, int], orientation: int, resize: SquareResize, resizing: Resizing
) -> np.ndarray:
    """Makes the views of a picture: uint8 [H, W, 3], as it is stored, to uint8 [n, S, S, 3], upright.

    "squash" resizes the whole picture to one view, "pad" puts it in the middle of a grey square first, and "anyres"
    makes the views of its layout. Raises MemoryError.

    size: upright width and height of the file's picture, of which `pixels` may be a fraction.
    """
    if resizing == "squash":
        # The view is turned, not the picture, which is larger; `height_first` makes the result that of turning that.
        squashed = resize(pixels, height_first=orientation in orientations.QUARTER_TURNED)
        return orientations.turn(squashed, orientation)[None]
    pixels = orientations.turn(pixels, orientation)
    if resizing == "pad":
        return resize.padded(pixels, GREY)[None]
    return _tiled(pixels, size, resize)


def _tiled(pixels: np.ndarray, size: tuple[int, int], resize: SquareResize) -> np.ndarray:
    """The whole picture squashed, and the tiles of a black canvas with the picture in its middle, row by row."""
    layout = resize.layout(*size)
    (width, height), (left, top), (across, down), side = layout.picture, layout.offset, layout.tiles, resize.size
    canvas = np.zeros((down * side, across * side, 3), np.uint8)
    canvas[top : top + height, left : left + width] = resize.to_size(pixels, width, height)
    tiles = canvas.reshape(down, side, across, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    return np.ascontiguousarray(np.concatenate((resize(pixels)[None], tiles)))


def min_jpeg_side(size: tuple[int, int], resize: SquareResize, resizing: Resizing) -> int:
    """Pixels that each side of a decoded JPEG must have at least; 0 if JPEGs are decoded at full size.

    size: width and height of the picture, upright or not.
    """
    if not resize.scales_jpegs or resizing != "anyres":
        return resize.min_jpeg_side
    return max(resize.size, *(side for turned in (size, size[::-1]) for side in resize.layout(*turned).picture))
