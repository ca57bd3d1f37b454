"""Sizes and index tensors of the operators: rows of `patchify`, plan of `pool_pack`, row indices of `merge_prefill`."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

# The same names, in the same order, as `model_executor.visual.POOLING_MODES`, which kernels cannot import: they know
# torch and Triton alone. A test holds the two equal, and the two formulas of the pooled side.
POOLING_MODES = ("none", "average", "max", "bilinear")

# Newline rows are needed by the authors' original checkpoints (LlavaQwenForCausalLM), which have a trained
# `image_newline` and cut images into any-resolution tiles; the hub's converted checkpoints have "none".
LAYOUTS = ("none", "row", "visual")
NEWLINE = -1  # in a plan's first column: the row is the newline


# Patch rows are padded to a multiple of so many values: matrix products read vectors of 128 bits (588 -> 592).
COLUMN_MULTIPLE = 8


def patch_columns(patch: int) -> int:
    """The width of a patch row: P*P*3 values, and zeros up to the next multiple of COLUMN_MULTIPLE."""
    return -(-patch * patch * 3 // COLUMN_MULTIPLE) * COLUMN_MULTIPLE


def pooled_side(grid: int, mode: str, stride: int) -> int:
    """The side of a pooled grid: whole windows for average and max, ceil(grid / stride) for bilinear."""
    return -(-grid // stride) if mode == "bilinear" else grid // stride


@lru_cache(maxsize=64)
def _plan_of_visual(grid: int, mode: str, stride: int, layout: str) -> np.ndarray:
    """The plan of a batch of one visual: int32 [R, 4]."""
    side = pooled_side(grid, mode, stride)
    y, x = np.divmod(np.arange(side * side, dtype=np.int32), side)
    rows = np.stack((np.zeros_like(y), np.full_like(y, POOLING_MODES.index(mode) * 8 + stride), y, x), -1)
    newline = np.array([[NEWLINE, 1, 0, 0]], np.int32)
    if layout == "row":
        lines = rows.reshape(side, side, 4)
        return np.concatenate((lines, np.broadcast_to(newline, (side, 1, 4))), 1).reshape(-1, 4)
    return np.concatenate((rows, newline)) if layout == "visual" else rows


def build(grid: int, poolings: Sequence[tuple[str, int]], layout: str = "none") -> torch.Tensor:
    """Builds the plan of a batch of visuals: int32 [R, 4] on the CPU, one line for each packed row.

    A line's columns are the visual's index in the batch, or NEWLINE; the index of the mode in POOLING_MODES times 8,
    plus the stride; y and x in the pooled grid.

    grid: the side of the unpooled grid. poolings: a (mode, stride) for each visual. layout: "none" for no newline rows,
    "row" for one after each row of a pooled grid, "visual" for one after each visual.

    Raises ValueError for an unknown layout, or a pooling that leaves nothing of the grid.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"the layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    plans = [np.empty((0, 4), np.int32)]
    for visual, (mode, stride) in enumerate(poolings):
        if mode not in POOLING_MODES or not 1 <= stride < 8 or pooled_side(grid, mode, stride) < 1:
            raise ValueError(f"{mode} pooling with stride {stride} leaves nothing of a {grid}x{grid} grid")
        plan = _plan_of_visual(grid, mode, stride, layout).copy()
        plan[plan[:, 0] != NEWLINE, 0] = visual
        plans.append(plan)
    return torch.from_numpy(np.concatenate(plans))


def visual_row_indices(is_visual: torch.Tensor) -> torch.Tensor:
    """Numbers the visual tokens of a prefill from 0: int32 [T], -1 where the token is text, on the mask's device.

    is_visual: bool [T].
    """
    numbers = is_visual.to(torch.int32).cumsum(0, dtype=torch.int32) - 1
    return torch.where(is_visual, numbers, -1).to(torch.int32)
