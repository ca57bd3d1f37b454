"""Pooling against an oracle written out by hand, in Python's own floats."""

import math

import pytest
import torch

from llava_interleave_serve.model_executor.pooling import pool, pool_each
from llava_interleave_serve.model_executor.visual import Pooling

GRIDS = (27, 9, 7, 5, 4, 2)


def windows(rows: list[list[list[float]]], stride: int, take: str) -> list[list[float]]:
    """Average or maximum over whole stride x stride windows; what is left over at the right and bottom is dropped."""
    side, channels = len(rows) // stride, len(rows[0][0])
    out = []
    for top in range(side):
        for left in range(side):
            cell = [rows[top * stride + y][left * stride + x] for y in range(stride) for x in range(stride)]
            columns = [[patch[c] for patch in cell] for c in range(channels)]
            out.append([max(column) if take == "max" else math.fsum(column) / len(column) for column in columns])
    return out


def bilinear(rows: list[list[list[float]]], stride: int) -> list[list[float]]:
    """Samples at the centres of ceil(G / stride) equal cells, between the four patches around each."""
    grid, channels = len(rows), len(rows[0][0])
    side = -(-grid // stride)
    taps = []
    for cell in range(side):
        centre = max((cell + 0.5) * grid / side - 0.5, 0.0)
        low = min(int(centre), grid - 1)
        taps.append((low, min(low + 1, grid - 1), centre - low))
    out = []
    for top, bottom, down in taps:
        for left, right, across in taps:
            out.append(
                [
                    (rows[top][left][c] * (1 - across) + rows[top][right][c] * across) * (1 - down)
                    + (rows[bottom][left][c] * (1 - across) + rows[bottom][right][c] * across) * down
                    for c in range(channels)
                ]
            )
    return out


def oracle(features: torch.Tensor, pooling: Pooling) -> list[list[float]]:
    grid = math.isqrt(features.shape[0])
    rows = features.double().unflatten(0, (grid, grid)).tolist()
    if pooling.mode == "none":
        return [patch for row in rows for patch in row]
    return bilinear(rows, pooling.stride) if pooling.mode == "bilinear" else windows(rows, pooling.stride, pooling.mode)


def poolings(grid: int) -> list[Pooling]:
    found = [Pooling()]
    for mode in ("average", "max", "bilinear"):
        found += [Pooling(mode, stride) for stride in (2, 3, 4) if mode == "bilinear" or stride <= grid]
    return found


@pytest.mark.parametrize("grid", GRIDS)
def test_every_mode_and_stride_is_the_oracles(grid: int) -> None:
    features = torch.randn(2, grid**2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(grid))
    for pooling in poolings(grid):
        got = pool(features, pooling)
        for one, expected in zip(got, (oracle(visual, pooling) for visual in features), strict=True):
            torch.testing.assert_close(one, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_low_precision_stays_near_the_oracle(dtype: torch.dtype) -> None:
    features = torch.randn(1, 49, 7, generator=torch.Generator().manual_seed(1)).to(dtype)
    for pooling in poolings(7):
        got = pool(features, pooling)
        assert got.dtype == dtype
        expected = torch.tensor(oracle(features[0], pooling), dtype=torch.float64)
        # Each of the few roundings moves a value of size 4 by at most half a unit in its last place.
        assert (got[0].double() - expected).abs().max() <= 4 * 4 * torch.finfo(dtype).eps


def test_visuals_of_one_batch_are_each_pooled_their_own_way_and_stay_in_order() -> None:
    wanted = [Pooling("max", 2), Pooling(), Pooling("bilinear", 3), Pooling("max", 2), Pooling("average", 4)]
    features = torch.randn(5, 49, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for got, visual, pooling in zip(pool_each(features, wanted), features, wanted, strict=True):
        torch.testing.assert_close(got, torch.tensor(oracle(visual, pooling), dtype=torch.float64))


def test_no_visuals_give_no_rows() -> None:
    assert pool_each(torch.empty(0, 49, 3), []) == []
