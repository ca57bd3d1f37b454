"""Packing of a visual: from the server's description over vLLM's tensors to the kernels' packing."""

from collections.abc import Sequence
from typing import NamedTuple

from llava_interleave_serve.kernels.index_plan import NEWLINES, POOLING_MODES, Packing, Tiles
from llava_interleave_serve.model_executor.visual import Visual


class VisualPacking(NamedTuple):
    """How the features of one visual become rows.

    Attributes:
        packing: the kernels' own.
        before_projector: True if pooled before the projector.

    """

    packing: Packing = Packing()
    before_projector: bool = False


UNPOOLED = VisualPacking()


def encode(visual: Visual) -> tuple[int, ...]:
    """A visual's packing as integers, a row of an int64 tensor. All zeros after the first four: one view."""
    pooling, layout = visual.pooling, visual.layout
    view = (
        POOLING_MODES.index(pooling.mode),
        pooling.stride,
        int(pooling.before_projector),
        NEWLINES.index(visual.newline),
    )
    if layout is None:
        return *view, 0, 0, 0, 0, 0, 0, 0, 0
    rectangle = layout.first_row, layout.first_column, layout.rows, layout.columns
    return *view, *layout.tiles, *rectangle, *layout.reduced


def decode(numbers: Sequence[int]) -> VisualPacking:
    """The inverse of `encode`."""
    mode, stride, before_projector, newline, across, down, first_row, first_column, rows, columns, *reduced = numbers
    tiles = Tiles(across, down, first_row, first_column, rows, columns, (reduced[0], reduced[1])) if across else None
    return VisualPacking(Packing(POOLING_MODES[mode], stride, NEWLINES[newline], tiles), bool(before_projector))
