"""Definitions of the operators in eager torch: every implementation is tested against these.

They run on any device and in any floating dtype; in float64 they are the oracle of the tests.
"""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from llava_interleave_serve.kernels.index_plan import Packing, Tiles, patch_columns, pooled_side


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
    """Samples an axis of patches at the centres of `side` equal cells, linearly between the two nearest patches."""
    grid = square.shape[axis]
    exact = torch.float64 if square.dtype == torch.float64 else torch.float32
    centres = ((torch.arange(side, device=square.device, dtype=exact) + 0.5) * (grid / side) - 0.5).clamp(min=0)
    lower = centres.long()
    share = (centres - lower).to(square.dtype).view([-1 if dim == axis else 1 for dim in range(square.dim())])
    upper = (lower + 1).clamp(max=grid - 1)
    return square.index_select(axis, lower) * (1 - share) + square.index_select(axis, upper) * share


def pool_pack(features: torch.Tensor, packings: Sequence[Packing], newline: torch.Tensor | None = None) -> torch.Tensor:
    """Pools each visual of a mixed batch [V, G*G, C] by its own packing and joins the rows: [R, C].

    newline: the row [C] that is put where a packing has newlines; None for zeros.

    As `prepare_inputs_labels_for_multimodal` of the reference implementation (LLaVA-NeXT, llava/model/llava_arch.py).
    """
    rows = [features.new_empty(0, features.shape[2])]
    newline = features.new_zeros(1, features.shape[2]) if newline is None else newline[None]
    views = list(features)
    for packing in packings:
        if packing.tiles is not None:
            rows.append(views.pop(0))
            square = _stitch([views.pop(0) for _ in range(packing.views - 1)], packing.tiles)
            rows += [row for line in square for row in (line, newline)]
            continue
        pooled = pool(views.pop(0)[None], packing.mode, packing.stride)[0]
        lines = pooled.split(math.isqrt(pooled.shape[0]))
        for index, line in enumerate(lines):
            is_end = packing.newline == "row" or (packing.newline == "end" and index == len(lines) - 1)
            rows += [line, newline] if is_end else [line]
    if views:
        raise ValueError(f"{len(features)} views came for {len(features) - len(views)}")
    return torch.cat(rows)


def _stitch(views: Sequence[torch.Tensor], tiles: Tiles) -> torch.Tensor:
    """Lays views [G*G, C] out as one grid, and cuts and resizes the rectangle of the tiles: [rows, columns, C]."""
    grid = math.isqrt(len(views[0]))
    squares = [view.unflatten(0, (grid, grid)) for view in views]
    strips = [torch.cat(squares[row * tiles.across :][: tiles.across], 1) for row in range(tiles.down)]
    rows = torch.cat(strips)[tiles.first_row : tiles.first_row + tiles.rows]
    kept = rows[:, tiles.first_column : tiles.first_column + tiles.columns]
    if tiles.reduced in (None, kept.shape[:2]):
        return kept
    return _resample(_resample(kept, 0, tiles.reduced[0]), 1, tiles.reduced[1])


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
