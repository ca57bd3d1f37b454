"""Where things go: which feature makes which packed row, and which row stands at which place of the prefill."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

MODES = ("none", "average", "max", "bilinear")
LAYOUTS = ("none", "row", "visual")
NEWLINE = -1  # in the column `visual` of a plan: this row is the newline


def side(grid: int, mode: str, stride: int) -> int:
    """The side of a pooled grid: whole windows for average and max, ceil(grid / stride) for bilinear."""
    return -(-grid // stride) if mode == "bilinear" else grid // stride


@lru_cache(maxsize=64)
def _one(grid: int, mode: str, stride: int, layout: str) -> np.ndarray:
    """The rows of one visual: int32 [rows, 4] of visual (0), MODES' index * 8 + stride, y, x."""
    wide = side(grid, mode, stride)
    y, x = np.divmod(np.arange(wide * wide, dtype=np.int32), wide)
    rows = np.stack((np.zeros_like(y), np.full_like(y, MODES.index(mode) * 8 + stride), y, x), -1)
    newline = np.array([[NEWLINE, 1, 0, 0]], np.int32)
    if layout == "row":
        lines = rows.reshape(wide, wide, 4)
        return np.concatenate((lines, np.broadcast_to(newline, (wide, 1, 4))), 1).reshape(-1, 4)
    return np.concatenate((rows, newline)) if layout == "visual" else rows


def plan(grid: int, poolings: Sequence[tuple[str, int]], layout: str = "none") -> torch.Tensor:
    """What each packed row of a batch of visuals is made of: int32 [R, 4], on the CPU.

    Columns: the visual, or NEWLINE; MODES' index * 8 + stride; y and x in the pooled grid.

    Raises ValueError for a layout that there is not, or a pooling that leaves nothing of the grid.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"the layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    rows = [np.empty((0, 4), np.int32)]
    for visual, (mode, stride) in enumerate(poolings):
        if mode not in MODES or not 1 <= stride < 8 or side(grid, mode, stride) < 1:
            raise ValueError(f"{mode} pooling with stride {stride} leaves nothing of a {grid}x{grid} grid")
        of_visual = _one(grid, mode, stride, layout).copy()
        of_visual[of_visual[:, 0] != NEWLINE, 0] = visual
        rows.append(of_visual)
    return torch.from_numpy(np.concatenate(rows))


def places(is_visual: torch.Tensor) -> torch.Tensor:
    """Which visual row stands at each place: int32 [T], -1 where text stands, of a mask bool [T], on its device."""
    counted = is_visual.to(torch.int32)
    return torch.where(is_visual, counted.cumsum(0, dtype=torch.int32) - 1, -1).to(torch.int32)
