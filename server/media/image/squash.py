"""From a picture of any size to a view."""

from dataclasses import dataclass

import numpy as np

from llava_interleave_serve.server.media.image.resize import resize_columns, resize_rows


@dataclass(frozen=True, slots=True)
class Squash:
    """Resizes uint8 [H, W, 3] to [size, size, 3] by Pillow's bicubic, in two passes, columns first.

    scales_jpegs: lets JPEGs be decoded at a half of their size or less where that leaves enough.
    """

    size: int
    scales_jpegs: bool = False

    def __call__(self, pixels: np.ndarray, *, rows_first: bool = False) -> np.ndarray:
        if rows_first:
            return resize_columns(resize_rows(pixels, self.size), self.size)
        return resize_rows(resize_columns(pixels, self.size), self.size)

    @property
    def least(self) -> int:
        """Pixels that each side of a JPEG must have once it is decoded; 0 if it is decoded whole."""
        return self.size if self.scales_jpegs else 0
