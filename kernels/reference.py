"""What the operators compute, in eager torch: the definition that every implementation is held against.

Runs on any device and in any floating dtype; in float64 it is the oracle of the tests.
"""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from llava_interleave_serve.kernels.index_plan import side


def patchify(
    views: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, patch: int, dtype: torch.dtype
) -> torch.Tensor:
    """uint8 views [V, S, S, 3] to normalised patch rows [V*G*G, P*P*3], G = S // P, in `dtype`.

    A value is view * scale + shift, by channel (float [3] each), computed in their dtype. A row's columns are in the
    order (y, x, channel) of its patch; pixels that do not fill a patch are dropped.
    """
    count, grid = views.shape[0], views.shape[1] // patch
    whole = views[:, : grid * patch, : grid * patch].to(scale.dtype) * scale + shift
    cut = whole.reshape(count, grid, patch, grid, patch, 3).permute(0, 1, 3, 2, 4, 5)
    return cut.reshape(count * grid**2, patch**2 * 3).to(dtype)


def pool(features: torch.Tensor, mode: str, stride: int) -> torch.Tensor:
    """Pools square grids of features: [V, G*G, C] to [V, P*P, C], P = side(G, mode, stride), in their dtype.

    As `get_2dPool` of the reference implementation (LLaVA-NeXT, llava/model/llava_arch.py): average and max over
    stride x stride windows, or bilinear (align_corners False, no antialias).
    """
    if mode == "none":
        return features
    grid = math.isqrt(features.shape[1])
    wide = side(grid, mode, stride)
    square = features.unflatten(1, (grid, grid))
    if mode == "bilinear":
        return _halfway(_halfway(square, 1, wide), 2, wide).flatten(1, 2)
    windows = square[:, : wide * stride, : wide * stride].unflatten(1, (wide, stride)).unflatten(3, (wide, stride))
    return (windows.mean((2, 4)) if mode == "average" else windows.amax((2, 4))).flatten(1, 2)


def _halfway(square: torch.Tensor, axis: int, wide: int) -> torch.Tensor:
    """Samples an axis of G patches at the centres of `wide` equal cells, linearly between the patches around each."""
    grid = square.shape[axis]
    exact = torch.float64 if square.dtype == torch.float64 else torch.float32
    centre = ((torch.arange(wide, device=square.device, dtype=exact) + 0.5) * (grid / wide) - 0.5).clamp(min=0)
    low = centre.long()
    share = (centre - low).to(square.dtype).view([-1 if at == axis else 1 for at in range(square.dim())])
    before, after = square.index_select(axis, low), square.index_select(axis, (low + 1).clamp(max=grid - 1))
    return before * (1 - share) + after * share


def pool_pack(
    features: torch.Tensor,
    poolings: Sequence[tuple[str, int]],
    newline: torch.Tensor | None = None,
    layout: str = "none",
) -> torch.Tensor:
    """A mixed batch of visuals [V, G*G, C], each pooled by its (mode, stride), as packed rows [R, C].

    layout: where the `newline` row [C] stands: "none" nowhere; "row" after each row of the pooled grid, "visual" after
    each visual (`mm_newline_position` "grid" and "frame" of the reference implementation).
    """
    if layout != "none" and newline is None:
        raise ValueError(f"the layout {layout!r} needs a newline")
    rows = [features.new_empty(0, features.shape[2])]
    for visual, (mode, stride) in zip(features, poolings, strict=True):
        pooled = pool(visual[None], mode, stride)[0]
        if newline is not None and layout == "row":
            wide = math.isqrt(pooled.shape[0])
            lines = pooled.unflatten(0, (wide, wide))
            pooled = torch.cat((lines, newline.expand(wide, 1, -1)), 1).flatten(0, 1)
        elif newline is not None and layout == "visual":
            pooled = torch.cat((pooled, newline[None]))
        rows.append(pooled)
    return torch.cat(rows)


def merge_prefill(
    token_ids: torch.Tensor, table: torch.Tensor, rows: torch.Tensor, place: torch.Tensor
) -> torch.Tensor:
    """The prefill's input embeddings [T, C]: rows[place] where place >= 0, table[token_id] elsewhere.

    token_ids: int [T]; table: [vocabulary, C]; rows: [R, C]; place: int [T].
    """
    text = functional.embedding(torch.where(place < 0, token_ids, 0), table)
    if len(rows) == 0:
        return text
    return torch.where(place[:, None] < 0, text, rows[place.clamp(min=0)])


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, scale: float) -> torch.Tensor:
    """softmax(scale * query key^T) value, each head and visual by itself: [V, T, heads * D] each."""
    query, key, value = (each.unflatten(2, (heads, -1)).transpose(1, 2) for each in (query, key, value))
    return ((query @ key.mT * scale).softmax(-1) @ value).transpose(1, 2).flatten(2)
