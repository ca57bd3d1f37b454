"""Implementations of the operators on CPUs, in torch."""

import math

import numpy as np
import torch
from torch.nn import functional

from llava_interleave_serve.kernels.index_plan import (
    FRACTION_BITS,
    NEWLINE,
    POOLING_MODES,
    RESIZED,
    UNPOOLED_CODE,
    patch_columns,
    pooled_side,
)

HEADS_PER_THREAD = 2  # of one visual, computed at once: their scores stay in the caches
POOLED = range(1, len(POOLING_MODES))  # indices of the modes that pool
TAP_ROWS = 256  # resized at once, in float32
KEY_STRIDE = 8  # one key in so many is tried to estimate a row's largest score
SHIFT_COLUMNS = 8  # added to a head's own columns; one is used, and matrix products like multiples of eight


def patchify(
    views: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, patch: int, dtype: torch.dtype
) -> torch.Tensor:
    """`reference.patchify`: the bytes are rearranged before they become floats, which is a quarter of the traffic."""
    count, grid = views.shape[0], views.shape[1] // patch
    patches = views[:, : grid * patch, : grid * patch].reshape(count, grid, patch, grid, patch, 3)
    values = patches.permute(0, 1, 3, 2, 4, 5).reshape(-1, 3 * patch).to(torch.float32)
    values.mul_(scale.repeat(patch)).add_(shift.repeat(patch))
    filled = patch**2 * 3
    rows = torch.empty(count * grid**2, patch_columns(patch), dtype=dtype)
    rows[:, :filled] = values.view(len(rows), filled)
    rows[:, filled:] = 0
    return rows


def pool_pack(features: torch.Tensor, plan: torch.Tensor, newline: torch.Tensor | None) -> torch.Tensor:
    """`reference.pool_pack` by a plan: neighbouring views with the same pooling are pooled in one call."""
    view, code, y, x = plan.numpy().T
    if len(plan) > 0 and (code == code[0]).all() and code[0] % 8 in POOLED:
        pooled = _pool(features, POOLING_MODES[code[0] % 8], code[0] // 8).flatten(0, 1)
        if pooled.shape[0] == len(plan):  # the plan has every row of every view, in order, and no newline
            return pooled
    packed = features.new_empty(len(plan), features.shape[2])
    packed[torch.from_numpy(view == NEWLINE)] = 0 if newline is None else newline
    for pooling in np.unique(code[view != NEWLINE]).tolist():
        targets = np.flatnonzero((code == pooling) & (view != NEWLINE))
        if pooling == UNPOOLED_CODE:
            grid = math.isqrt(features.shape[1])
            sources = (view[targets].astype(np.int64) * grid + y[targets]) * grid + x[targets]
            _copy_runs(packed, targets, features.flatten(0, 1), sources)
            continue
        if pooling % 8 == RESIZED:
            for rows in np.split(targets, range(TAP_ROWS, len(targets), TAP_ROWS)):
                packed[torch.from_numpy(rows)] = _resized(features, plan.numpy()[rows])
            continue
        members = np.unique(view[targets])
        # Views that are neighbours in memory are pooled where they are: gathering a group costs more than pooling.
        for start, end in _runs(members - np.arange(len(members))):
            group = features[members[start] : members[end - 1] + 1]
            pooled = _pool(group, POOLING_MODES[pooling % 8], pooling // 8).flatten(0, 1)
            _copy_runs(packed, targets[: len(pooled)], pooled, np.arange(len(pooled)))
            targets = targets[len(pooled) :]
    return packed


def _resized(features: torch.Tensor, plan: np.ndarray) -> torch.Tensor:
    """The resized rows of a plan: [n, C]."""
    grid, (view, code, *places) = math.isqrt(features.shape[1]), plan.astype(np.int64).T
    low = [place >> FRACTION_BITS for place in places]
    share = [(place & (2**FRACTION_BITS - 1)) / 2**FRACTION_BITS for place in places]
    rows = torch.zeros(len(plan), features.shape[2], dtype=torch.promote_types(features.dtype, torch.float32))
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        y, x = low[0] + down * (share[0] > 0), low[1] + right * (share[1] > 0)
        index = ((view + y // grid * (code // 8) + x // grid) * grid + y % grid) * grid + x % grid
        weight = (share[0] if down else 1 - share[0]) * (share[1] if right else 1 - share[1])
        taps = features.flatten(0, 1)[torch.from_numpy(index)].to(rows.dtype)
        rows += taps * torch.from_numpy(weight).to(rows.dtype)[:, None]
    return rows.to(features.dtype)


def _copy_runs(to: torch.Tensor, targets: np.ndarray, rows: torch.Tensor, sources: np.ndarray) -> None:
    """Copies rows[sources] to to[targets], each stretch of neighbours in one piece."""
    for start, end in _runs(np.stack((targets, sources), 1) - np.arange(len(targets))[:, None]):
        to[targets[start] : targets[end - 1] + 1] = rows[sources[start] : sources[end - 1] + 1]


def _pool(features: torch.Tensor, mode: str, stride: int) -> torch.Tensor:
    """[V, G*G, C] to [V, P*P, C]; torch's pooling reads channels-last memory without a copy."""
    grid = math.isqrt(features.shape[1])
    planes = features.unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
    match mode:
        case "average":
            pooled = functional.avg_pool2d(planes, stride)
        case "max":
            pooled = functional.max_pool2d(planes, stride)
        case _:
            pooled = functional.interpolate(planes, size=(pooled_side(grid, mode, stride),) * 2, mode="bilinear")
    return pooled.permute(0, 2, 3, 1).flatten(1, 2)


def merge_prefill(
    token_ids: torch.Tensor, table: torch.Tensor, rows: torch.Tensor, row_index: torch.Tensor
) -> torch.Tensor:
    """`reference.merge_prefill`: looks up text tokens only, and copies consecutive visual rows in one piece."""
    merged = table.new_empty(len(token_ids), table.shape[1])
    index = row_index.numpy()
    text = np.iinfo(np.int64).min
    for start, end in _runs(np.where(index < 0, text, index.astype(np.int64) - np.arange(len(index)))):
        if index[start] < 0:
            torch.index_select(table, 0, token_ids[start:end], out=merged[start:end])
        else:
            merged[start:end] = rows[index[start] : index[end - 1] + 1]
    return merged


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, scale: float) -> torch.Tensor:
    """`reference.attention` in bfloat16, for the vision tower: three bfloat16 [V, T, heads * D] to one.

    Whole matrix products of two heads a thread replace the small blocks of torch's own attention, which is 1.5 times as
    fast at head size 72. Scores are rounded to bfloat16, which is fine only near zero; so a value near each row's
    largest score is subtracted, by one more column of the product, and cancels in the softmax. Without it the errors of
    large scores are 17 times torch's, with it 2.3 times (`tests/kernels/test_attention.py`).
    """
    count, tokens, width = query.shape
    size = width // heads
    queries = query.new_zeros(heads, tokens, size + SHIFT_COLUMNS)
    keys = torch.zeros_like(queries)
    keys[..., size] = 1
    scores = query.new_empty(min(HEADS_PER_THREAD * torch.get_num_threads(), heads), tokens, tokens)
    attended = query.new_empty(count, tokens, width)
    for visual in range(count):
        by_head = [
            tensor[visual].unflatten(1, (heads, size)).transpose(0, 1) for tensor in (query, key, value, attended)
        ]
        queries[..., :size], keys[..., :size], values = by_head[0], by_head[1], by_head[2].contiguous()
        queries[..., size] = -torch.bmm(queries[..., :size], keys[:, ::KEY_STRIDE, :size].mT).amax(-1)
        for first in range(0, heads, len(scores)):
            part = slice(first, min(first + len(scores), heads))
            block = scores[: part.stop - first]
            torch.baddbmm(block, queries[part], keys[part].mT, beta=0, alpha=scale, out=block)
            by_head[3][part] = torch.bmm(torch.softmax(block, -1, out=block), values[part])
    return attended


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """The stretches [start, end) over which values [n], or rows of values [n, k], stay the same."""
    if len(values) == 0:
        return []
    changes = np.diff(values.reshape(len(values), -1), axis=0).any(1)
    borders = (np.flatnonzero(changes) + 1).tolist()
    return list(zip([0, *borders], [*borders, len(values)], strict=True))
