"""Implementations of the operators on CPUs, in torch."""

import math

import numpy as np
import torch
from torch.nn import functional

from llava_interleave_serve.kernels.index_plan import NEWLINE, POOLING_MODES, patch_columns, pooled_side

HEADS_PER_THREAD = 2  # of one visual, computed at once: their scores stay in the caches
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
    """`reference.pool_pack` by a plan: neighbouring visuals with the same pooling are pooled in one call."""
    visual, code = plan[:, 0].numpy(), plan[:, 1].numpy()
    if len(plan) > 0 and newline is None and (code == code[0]).all():
        pooled = _pool(features, POOLING_MODES[code[0] // 8], code[0] % 8).flatten(0, 1)
        if pooled.shape[0] == len(plan):  # the plan has every row of every visual, in order
            return pooled.clone() if pooled.data_ptr() == features.data_ptr() else pooled
    packed = features.new_empty(len(plan), features.shape[2])
    if newline is not None:
        packed[torch.from_numpy(visual == NEWLINE)] = newline
    for pooling in np.unique(code[visual != NEWLINE]).tolist():
        targets = np.flatnonzero((code == pooling) & (visual != NEWLINE))
        members = np.unique(visual[targets])
        # Visuals that are neighbours in memory are pooled where they are: gathering a group costs more than pooling.
        for start, end in _runs(members - np.arange(len(members))):
            group = features[members[start] : members[end - 1] + 1]
            pooled = _pool(group, POOLING_MODES[pooling // 8], pooling % 8).flatten(0, 1)
            rows, targets = targets[: len(pooled)], targets[len(pooled) :]
            for first, last in _runs(rows - np.arange(len(rows))):
                packed[rows[first] : rows[last - 1] + 1] = pooled[first:last]
    return packed


def _pool(features: torch.Tensor, mode: str, stride: int) -> torch.Tensor:
    """[V, G*G, C] to [V, P*P, C]; torch's pooling reads channels-last memory without a copy."""
    if mode == "none":
        return features
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
    """The stretches [start, end) over which values [n] stay the same."""
    if len(values) == 0:
        return []
    borders = (np.flatnonzero(np.diff(values)) + 1).tolist()
    return list(zip([0, *borders], [*borders, len(values)], strict=True))
