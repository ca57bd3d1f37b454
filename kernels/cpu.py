"""The operators on CPUs, in torch."""

import math

import numpy as np
import torch
from torch.nn import functional

from llava_interleave_serve.kernels.index_plan import MODES, NEWLINE, side

HEADS_AT_ONCE = 2  # of a visual's attention, a thread: their scores stay in the caches
EVERY_KEY = 8  # of which one is tried for a row's largest score
SHIFT_COLUMNS = 8  # beside a head's own; one is used, and products like multiples of eight


def patchify(
    views: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, patch: int, dtype: torch.dtype
) -> torch.Tensor:
    """Cuts bytes before they become floats, a quarter of the traffic; then one multiply-add in place."""
    count, grid = views.shape[0], views.shape[1] // patch
    cut = views[:, : grid * patch, : grid * patch].reshape(count, grid, patch, grid, patch, 3)
    values = cut.permute(0, 1, 3, 2, 4, 5).reshape(-1, 3 * patch).to(torch.float32)
    values.mul_(scale.repeat(patch)).add_(shift.repeat(patch))
    return values.view(count * grid**2, patch**2 * 3).to(dtype)


def pool_pack(features: torch.Tensor, plan: torch.Tensor, newline: torch.Tensor | None) -> torch.Tensor:
    """Pools neighbouring visuals of one pooling together, and copies their rows to where they stand."""
    visual, code = plan[:, 0].numpy(), plan[:, 1].numpy()
    if len(plan) > 0 and newline is None and (code == code[0]).all():
        pooled = _pool(features, MODES[code[0] // 8], code[0] % 8).flatten(0, 1)
        if pooled.shape[0] == len(plan):  # all of every visual, in order
            return pooled.clone() if pooled.data_ptr() == features.data_ptr() else pooled
    packed = features.new_empty(len(plan), features.shape[2])
    if newline is not None:
        packed[torch.from_numpy(visual == NEWLINE)] = newline
    for each in np.unique(code[visual != NEWLINE]).tolist():
        rows = np.flatnonzero((code == each) & (visual != NEWLINE))
        members = np.unique(visual[rows])
        # Neighbours are pooled together where they lie: gathering a group would cost more than pooling it.
        for start, end in _runs(members - np.arange(len(members))):
            group = features[members[start] : members[end - 1] + 1]
            pooled = _pool(group, MODES[each // 8], each % 8).flatten(0, 1)
            where, rows = rows[: len(pooled)], rows[len(pooled) :]
            for first, last in _runs(where - np.arange(len(where))):
                packed[where[first] : where[last - 1] + 1] = pooled[first:last]
    return packed


def _pool(features: torch.Tensor, mode: str, stride: int) -> torch.Tensor:
    """[V, G*G, C] to [V, P*P, C]; channels lie last, which torch's pooling reads as they are."""
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
            pooled = functional.interpolate(planes, size=(side(grid, mode, stride),) * 2, mode="bilinear")
    return pooled.permute(0, 2, 3, 1).flatten(1, 2)


def merge_prefill(
    token_ids: torch.Tensor, table: torch.Tensor, rows: torch.Tensor, place: torch.Tensor
) -> torch.Tensor:
    """Looks up the text alone, and copies visual rows in the runs in which they lie."""
    merged = table.new_empty(len(token_ids), table.shape[1])
    at = place.numpy()
    for start, end in _runs(np.where(at < 0, np.iinfo(np.int64).min, at.astype(np.int64) - np.arange(len(at)))):
        if at[start] < 0:
            torch.index_select(table, 0, token_ids[start:end], out=merged[start:end])
        else:
            merged[start:end] = rows[at[start] : at[end - 1] + 1]
    return merged


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, scale: float) -> torch.Tensor:
    """Attention of each visual's patches to one another: bfloat16 [V, T, heads * D] three times, to the same.

    Two heads a thread at a time, so that whole matrix products replace the small blocks of torch's own attention
    (head 72: 1.5 times as fast). Scores are rounded to bfloat16, finely only near zero; so each row's are computed
    less a value near its largest, in one more column of the product. That value cancels in the softmax; without it the
    errors of large scores are 17 times torch's, with it 2.3 times (`tests/kernels/test_attention.py`).
    """
    count, tokens, width = query.shape
    size = width // heads
    queries = query.new_zeros(heads, tokens, size + SHIFT_COLUMNS)
    keys = torch.zeros_like(queries)
    keys[..., size] = 1
    scores = query.new_empty(min(HEADS_AT_ONCE * torch.get_num_threads(), heads), tokens, tokens)
    attended = query.new_empty(count, tokens, width)
    for each in range(count):
        own = [tensor[each].unflatten(1, (heads, size)).transpose(0, 1) for tensor in (query, key, value, attended)]
        queries[..., :size], keys[..., :size], values = own[0], own[1], own[2].contiguous()
        queries[..., size] = -torch.bmm(queries[..., :size], keys[:, ::EVERY_KEY, :size].mT).amax(-1)
        for first in range(0, heads, len(scores)):
            part = slice(first, min(first + len(scores), heads))
            block = scores[: part.stop - first]
            torch.baddbmm(block, queries[part], keys[part].mT, beta=0, alpha=scale, out=block)
            own[3][part] = torch.bmm(torch.softmax(block, -1, out=block), values[part])
    return attended


def _runs(key: np.ndarray) -> list[tuple[int, int]]:
    """The stretches [start, end) over which a key [n] stays the same."""
    if len(key) == 0:
        return []
    borders = (np.flatnonzero(np.diff(key)) + 1).tolist()
    return list(zip([0, *borders], [*borders, len(key)], strict=True))
