"""Sizes and index tensors of the operators: rows of `patchify`, plan of `pool_pack`, row indices of `merge_prefill`."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

# The same names, in the same order, as `model_executor.visual`, which kernels cannot import: they know torch and Triton
# alone. A test holds them equal, and the two formulas of the pooled side.
POOLING_MODES = ("none", "average", "max", "bilinear")
NEWLINES = ("none", "row", "end")
NEWLINE = -1  # in a plan's first column: the row is the newline
RESIZED = len(POOLING_MODES)  # in place of a mode's index: the row is between patches of several tiles
FRACTION_BITS = 21  # of a resized row's coordinates, which leaves room for a grid of 1024 patches


class Tiles(NamedTuple):
    """The part of a picture's tiles that is kept: a rectangle of the grid of patches that all tiles make together.

    across, down: tiles. first_row, first_column, rows, columns: of the rectangle, in patches; rows may be 0.
    reduced: rows and columns to which the rectangle is resized, bilinearly; None if it is not.
    """

    across: int
    down: int
    first_row: int
    first_column: int
    rows: int
    columns: int
    reduced: tuple[int, int] | None = None


class Packing(NamedTuple):
    """How the features of one visual become rows.

    mode, stride: of the pooling of its view. newline: where newlines are put: "row" after each row of the pooled grid,
    "end" after the last one. tiles: None for one view; else the visual's views are the whole picture and its tiles, row
    by row, and its rows those of the whole picture, unpooled and without newlines, and then those of the tiles'
    rectangle, with a newline after each row of it.
    """

    mode: str = "none"
    stride: int = 1
    newline: str = "none"
    tiles: Tiles | None = None

    @property
    def views(self) -> int:
        """The number of views, which are neighbours in a batch."""
        return 1 if self.tiles is None else 1 + self.tiles.across * self.tiles.down

    def rows(self, grid: int) -> int:
        """The number of packed rows, newlines included, for views of `grid` x `grid` patches."""
        if self.tiles is not None:
            rows, columns = self.tiles.reduced or (self.tiles.rows, self.tiles.columns)
            return grid**2 + rows * (columns + 1)
        side = pooled_side(grid, self.mode, self.stride)
        return side**2 + (0, side, 1)[NEWLINES.index(self.newline)]


UNPOOLED = Packing()
UNPOOLED_CODE = 8  # in a plan's second column


# Patch rows are padded to a multiple of so many values: matrix products read vectors of 128 bits (588 -> 592).
COLUMN_MULTIPLE = 8


def patch_columns(patch: int) -> int:
    """The width of a patch row: P*P*3 values, and zeros up to the next multiple of COLUMN_MULTIPLE."""
    return -(-patch * patch * 3 // COLUMN_MULTIPLE) * COLUMN_MULTIPLE


def pooled_side(grid: int, mode: str, stride: int) -> int:
    """The side of a pooled grid: whole windows for average and max, ceil(grid / stride) for bilinear."""
    return -(-grid // stride) if mode == "bilinear" else grid // stride


def build(grid: int, packings: Sequence[Packing]) -> torch.Tensor:
    """Builds the plan of a batch of visuals: int32 [R, 4] on the CPU, one line for each packed row.

    A line's columns are the view's index in the batch, or NEWLINE; the index of the mode in POOLING_MODES, plus 8 times
    the stride; y and x in the view's pooled grid. With RESIZED for the mode they are the index of the first tile;
    RESIZED plus 8 times the number of tiles across; y and x in the grid of all tiles, with FRACTION_BITS of fraction.

    grid: the side of a view's unpooled grid. packings: one for each visual.

    Raises ValueError for a packing that is none, such as a pooling that leaves nothing of the grid.
    """
    plans, view = [np.empty((0, 4), np.int32)], 0
    for packing in packings:
        plan = _plan_of_visual(grid, packing).copy()
        plan[plan[:, 0] != NEWLINE, 0] += view
        plans.append(plan)
        view += packing.views
    return torch.from_numpy(np.concatenate(plans))


def newline_rows(plan: torch.Tensor) -> torch.Tensor:
    """The indices of a plan's newlines: int64 [n], on its device."""
    return (plan[:, 0] == NEWLINE).nonzero()[:, 0]


@lru_cache(maxsize=256)
def _plan_of_visual(grid: int, packing: Packing) -> np.ndarray:
    """The plan of a batch of one visual: int32 [R, 4]."""
    mode, stride, newline, tiles = packing
    if newline not in NEWLINES:
        raise ValueError(f"newlines must be one of {', '.join(NEWLINES)}, not {newline!r}")
    if mode not in POOLING_MODES or stride < 1 or pooled_side(grid, mode, stride) < 1:
        raise ValueError(f"{mode} pooling with stride {stride} leaves nothing of a {grid}x{grid} grid")
    if tiles is not None:
        if (mode, stride, newline) != UNPOOLED[:3]:
            raise ValueError("tiles are not pooled, and have newlines of their own")
        whole = _lines(0, UNPOOLED_CODE, *np.ogrid[:grid, :grid]).reshape(-1, 4)
        return np.concatenate((whole, _with_newlines(_plan_of_tiles(grid, tiles))))
    side = pooled_side(grid, mode, stride)
    lines = _lines(0, POOLING_MODES.index(mode) + 8 * stride, *np.ogrid[:side, :side])
    if newline == "row":
        return _with_newlines(lines)
    rows = lines.reshape(-1, 4)
    return np.concatenate((rows, _newlines(1))) if newline == "end" else rows


def _plan_of_tiles(grid: int, tiles: Tiles) -> np.ndarray:
    """The rectangle of a picture's tiles: int32 [rows, columns, 4]."""
    ends = tiles.first_row + tiles.rows, tiles.first_column + tiles.columns
    sides = tiles.down * grid, tiles.across * grid
    if min(tiles[:6]) < 0 or ends[0] > sides[0] or ends[1] > sides[1] or max(sides) > 2 ** (31 - FRACTION_BITS):
        raise ValueError(f"{tiles} does not fit tiles of {grid}x{grid} patches")
    if tiles.reduced not in (None, (tiles.rows, tiles.columns)):
        y = _centres(tiles.first_row, tiles.rows, tiles.reduced[0])
        x = _centres(tiles.first_column, tiles.columns, tiles.reduced[1])
        return _lines(1, RESIZED + 8 * tiles.across, y[:, None], x[None])
    y, x = np.ogrid[tiles.first_row : ends[0], tiles.first_column : ends[1]]
    return _lines(1 + y // grid * tiles.across + x // grid, UNPOOLED_CODE, y % grid, x % grid)


def _centres(first: int, count: int, cells: int) -> np.ndarray:
    """The centres of equal cells of `count` patches, in patches with FRACTION_BITS of fraction: int64 [cells]."""
    centres = ((np.arange(cells) + 0.5) * (count / cells) - 0.5).clip(0, count - 1)
    places: np.ndarray = np.rint((first + centres) * 2**FRACTION_BITS).astype(np.int64)
    return places


def _lines(view: np.ndarray | int, code: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A plan's lines of a grid: int32 [rows, columns, 4]. y: [rows, 1]; x: [1, columns]."""
    lines: np.ndarray = np.stack(np.broadcast_arrays(view, code, y, x), -1).astype(np.int32)
    return lines


def _newlines(count: int) -> np.ndarray:
    lines: np.ndarray = np.tile(np.array([[NEWLINE, UNPOOLED_CODE, 0, 0]], np.int32), (count, 1))
    return lines


def _with_newlines(lines: np.ndarray) -> np.ndarray:
    """Lines [rows, columns, 4] with a newline after each row: [rows * (columns + 1), 4]."""
    return np.concatenate((lines, _newlines(len(lines))[:, None]), 1).reshape(-1, 4)


def visual_row_indices(is_visual: torch.Tensor) -> torch.Tensor:
    """Numbers the visual tokens of a prefill from 0: int32 [T], -1 where the token is text, on the mask's device.

    is_visual: bool [T].
    """
    numbers = is_visual.to(torch.int32).cumsum(0, dtype=torch.int32) - 1
    return torch.where(is_visual, numbers, -1).to(torch.int32)
