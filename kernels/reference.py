"""Definitions of the operators in eager torch: every implementation is tested against these.

They run on any device and in any floating dtype; in float64 they are the oracle of the tests.
"""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from llava_interleave_serve.kernels.index_plan import patch_columns, pooled_side


def patchify(
    views: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, patch: int, dtype: torch.dtype
) -> torch.Tensor:
    """Cuts uint8 views [V, S, S, 3] into normalised patch rows [V*G*G, patch_columns(P)] of `dtype`, G = S // P.

    A value is view * scale + shift, by channel (float [3] each), computed in their dtype. A row's columns are in the
    order (y, x, channel) of its patch, and zero after these; pixels that do not fill a patch are dropped.
    """
    count, grid = views.shape[0], views.shape[1] // patch
    normalised = views[:, : grid * patch, : grid * patch].to(scale.dtype) * scale + shift
    patches = normalised.reshape(count, grid, patch, grid, patch, 3).permute(0, 1, 3, 2, 4, 5)
    rows = patches.reshape(count * grid**2, patch**2 * 3).to(dtype)
    return functional.pad(rows, (0, patch_columns(patch) - patch**2 * 3))


def pool(features: torch.Tensor, mode: str, stride: int) -> torch.Tensor:
    """Pools square grids of features: [V, G*G, C] to [V, P*P, C], P = pooled_side(G, mode, stride), in their dtype.

    As `get_2dPool` of the reference implementation (LLaVA-NeXT, llava/model/llava_arch.py): average and max over
    stride x stride windows, or bilinear (align_corners False, no antialias).
    """
    if mode == "none":
        return features
    grid = math.isqrt(features.shape[1])
    side = pooled_side(grid, mode, stride)
    square = features.unflatten(1, (grid, grid))
    if mode == "bilinear":
        return _resample(_resample(square, 1, side), 2, side).flatten(1, 2)
    windows = square[:, : side * stride, : side * stride].unflatten(1, (side, stride)).unflatten(3, (side, stride))
    return (windows.mean((2, 4)) if mode == "average" else windows.amax((2, 4))).flatten(1, 2)


def _resample(square: torch.Tensor, axis: int, side: int) -> torch.Tensor:
    """Samples an axis of G patches at the centres of `side` equal cells, linearly between the two nearest patches."""
    grid = square.shape[axis]
    exact = torch.float64 if square.dtype == torch.float64 else torch.float32
    centres = ((torch.arange(side, device=square.device, dtype=exact) + 0.5) * (grid / side) - 0.5).clamp(min=0)
    lower = centres.long()
    share = (centres - lower).to(square.dtype).view([-1 if dim == axis else 1 for dim in range(square.dim())])
    upper = (lower + 1).clamp(max=grid - 1)
    return square.index_select(axis, lower) * (1 - share) + square.index_select(axis, upper) * share


def pool_pack(
    features: torch.Tensor,
    poolings: Sequence[tuple[str, int]],
    newline: torch.Tensor | None = None,
    layout: str = "none",
) -> torch.Tensor:
    """Pools each visual of a mixed batch [V, G*G, C] by its own (mode, stride) and joins the rows: [R, C].

    layout: where the `newline` row [C] is put: "none" nowhere; "row" after each row of the pooled grid; "visual" after
    each visual (`mm_newline_position` "grid" and "frame" of the reference implementation). `index_plan.LAYOUTS` says
    which checkpoints need it.

    Raises ValueError for a layout that needs a newline where none is given.
    """
    if layout != "none" and newline is None:
        raise ValueError(f"the layout {layout!r} needs a newline")
    rows = [features.new_empty(0, features.shape[2])]
    for visual, (mode, stride) in zip(features, poolings, strict=True):
        pooled = pool(visual[None], mode, stride)[0]
        if newline is not None and layout == "row":
            side = math.isqrt(pooled.shape[0])
            lines = pooled.unflatten(0, (side, side))
            pooled = torch.cat((lines, newline.expand(side, 1, -1)), 1).flatten(0, 1)
        elif newline is not None and layout == "visual":
            pooled = torch.cat((pooled, newline[None]))
        rows.append(pooled)
    return torch.cat(rows)


def merge_prefill(
    token_ids: torch.Tensor, table: torch.Tensor, rows: torch.Tensor, row_index: torch.Tensor
) -> torch.Tensor:
    """The prefill's input embeddings [T, C]: rows[row_index] where row_index >= 0, table[token_id] elsewhere.

    token_ids: int [T]; table: [vocabulary, C]; rows: [R, C]; row_index: int [T].
    """
    text = functional.embedding(torch.where(row_index < 0, token_ids, 0), table)
    if len(rows) == 0:
        return text
    return torch.where(row_index[:, None] < 0, text, rows[row_index.clamp(min=0)])


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, scale: float) -> torch.Tensor:
    """softmax(scale * query key^T) value, for each head of each visual: three [V, T, heads * D] to one."""
    query, key, value = (tensor.unflatten(2, (heads, -1)).transpose(1, 2) for tensor in (query, key, value))
    return ((query @ key.mT * scale).softmax(-1) @ value).transpose(1, 2).flatten(2)
