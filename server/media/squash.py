"""From a picture of any size to a view."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from llava_interleave_serve.server.media.fidelity import Fidelity


@dataclass(frozen=True, slots=True)
class Squash:
    """Resizes uint8 [H, W, 3] to [size, size, 3] by an antialiased bicubic, in two passes, columns first."""

    size: int
    fidelity: Fidelity = Fidelity.FAST

    def __call__(self, pixels: np.ndarray, *, rows_first: bool = False) -> np.ndarray:
        if pixels.shape[:2] == (self.size, self.size):
            return np.ascontiguousarray(pixels)
        return self._exactly(pixels, rows_first) if self.fidelity is Fidelity.EXACT else self._fast(pixels, rows_first)

    @property
    def least(self) -> int:
        """Pixels that each side of a JPEG must have once it is decoded; 0 if it is decoded whole."""
        return self.size if self.fidelity is Fidelity.SCALED else 0

    def _exactly(self, pixels: np.ndarray, rows_first: bool) -> np.ndarray:
        height, width = pixels.shape[:2]
        between = (width, self.size) if rows_first else (self.size, height)
        first = Image.fromarray(pixels).resize(between, Image.Resampling.BICUBIC)
        return np.asarray(first.resize((self.size, self.size), Image.Resampling.BICUBIC))

    def _fast(self, pixels: np.ndarray, rows_first: bool) -> np.ndarray:
        planes = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).permute(2, 0, 1)[None]
        if rows_first:
            planes = _resized(planes, self.size, planes.shape[3])
        resized = _resized(planes, self.size, self.size)
        view: np.ndarray = resized[0].permute(1, 2, 0).contiguous().numpy()
        return view


def _resized(planes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return torch.nn.functional.interpolate(planes, (height, width), mode="bicubic", antialias=True, align_corners=False)
