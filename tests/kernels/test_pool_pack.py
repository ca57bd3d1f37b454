"""pool_pack agrees with the float64 oracle, on a CPU and as an interpreted kernel."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_interleave_serve.kernels import cpu, index_plan, ops, reference
from llava_interleave_serve.kernels._triton import pool_pack as kernel
from llava_interleave_serve.kernels.index_plan import Packing, Tiles
from tests.support.tolerance import assert_as_exact_as_eager

IMPLEMENTATIONS = {"cpu": cpu.pool_pack, "triton": kernel.launch}
POOLINGS = [("none", 1), *((mode, stride) for mode in ("average", "max", "bilinear") for stride in (2, 3, 4))]


def fitting(grid: int) -> list[Packing]:
    return [Packing(*pooling) for pooling in POOLINGS if index_plan.pooled_side(grid, *pooling) >= 1]


def random_tensor(dtype: torch.dtype, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def check(name: str, features: torch.Tensor, packings: Sequence[Packing], rows: int | None = None) -> None:
    """rows: how many of the packed rows are computed, evenly spread, since the interpreter is slow; None for all."""
    grid = round(features.shape[1] ** 0.5)
    newline = random_tensor(features.dtype, features.shape[2], seed=9)
    oracle = reference.pool_pack(features.double(), packings, newline.double())
    eager = reference.pool_pack(features, packings, newline)
    plan = index_plan.build(grid, packings)
    assert len(plan) == sum(packing.rows(grid) for packing in packings)
    is_whole = rows is None or len(plan) <= rows
    selected = torch.arange(len(plan)) if is_whole else torch.linspace(0, len(plan) - 1, rows).long().unique()
    result = IMPLEMENTATIONS[name](features, plan[selected], newline)
    assert_as_exact_as_eager(result, eager[selected], oracle[selected])


@pytest.mark.usefixtures("dirty")
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("grid", [27, 24, 9, 2, 1])
def test_pool_pack_agrees_with_the_oracle_in_every_mode_and_stride(name: str, grid: int, dtype: torch.dtype) -> None:
    poolings = fitting(grid)
    features = random_tensor(dtype, len(poolings), grid**2, 13)
    check(name, features, poolings, rows=150 if name == "triton" else None)


@pytest.mark.usefixtures("dirty")
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("channels", [64, 896, 1024, 3584, 4096, 77])
def test_pool_pack_agrees_with_the_oracle_at_every_width(name: str, channels: int, dtype: torch.dtype) -> None:
    packings = [Packing("bilinear", 2), Packing(), Packing("max", 3), Packing("average", 2)]
    packings.append(Packing(tiles=Tiles(2, 1, 1, 2, 1, 3, None)))
    packings.append(Packing(tiles=Tiles(2, 1, 0, 0, 3, 6, (2, 2))))
    check(name, random_tensor(dtype, 10, 9, channels), packings)


@pytest.mark.usefixtures("dirty")
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("newline", index_plan.NEWLINES)
def test_pool_pack_puts_newlines_where_the_packing_does(name: str, newline: str, dtype: torch.dtype) -> None:
    poolings = [("average", 2), ("none", 1), ("average", 2), ("max", 4)]
    check(name, random_tensor(dtype, 4, 25, 20), [Packing(*pooling, newline) for pooling in poolings])


@pytest.mark.usefixtures("dirty")
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_newlines_are_zeros_where_none_is_given(name: str, dtype: torch.dtype) -> None:
    packings = [Packing(newline="end"), Packing("average", 2, "row"), Packing(tiles=Tiles(1, 1, 0, 0, 2, 3))]
    features = random_tensor(dtype, 4, 9, 20)
    result = IMPLEMENTATIONS[name](features, index_plan.build(3, packings), None)
    assert_as_exact_as_eager(
        result, reference.pool_pack(features, packings), reference.pool_pack(features.double(), packings)
    )


# The largest and smallest of the published resolutions, cut at both ends of rows or columns; and resized.
PUBLISHED_TILES = [
    Tiles(2, 2, 7, 0, 40, 54), Tiles(2, 2, 0, 7, 54, 40), Tiles(1, 3, 11, 0, 59, 27), Tiles(3, 1, 0, 0, 27, 81),
    Tiles(1, 2, 27, 0, 0, 27), Tiles(6, 6, 0, 20, 162, 122, (84, 63)), Tiles(6, 6, 1, 0, 160, 162, (54, 55)),
]  # fmt: skip


@pytest.mark.usefixtures("dirty")
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("tiles", PUBLISHED_TILES, ids=str)
def test_pool_pack_agrees_with_the_oracle_on_tiles_of_the_published_sizes(
    name: str, tiles: Tiles, dtype: torch.dtype
) -> None:
    packings = [Packing("average", 2, "end"), Packing(tiles=tiles), Packing("bilinear", 2, "row")]
    views = sum(packing.views for packing in packings)
    check(name, random_tensor(dtype, views, 27**2, 5), packings, rows=90 if name == "triton" else None)


@st.composite
def any_packings(draw: st.DrawFn, grid: int) -> list[Packing]:
    packings = []
    for pooled in draw(st.lists(st.sampled_from([*fitting(grid), None]), max_size=5)):
        if pooled is not None:
            packings.append(pooled._replace(newline=draw(st.sampled_from(index_plan.NEWLINES))))
            continue
        across, down = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        first_row, first_column = draw(st.integers(0, down * grid - 1)), draw(st.integers(0, across * grid - 1))
        rows = draw(st.integers(0, down * grid - first_row))
        columns = draw(st.integers(1, across * grid - first_column))
        reduced = (draw(st.integers(1, rows)), draw(st.integers(1, columns))) if rows and draw(st.booleans()) else None
        packings.append(Packing(tiles=Tiles(across, down, first_row, first_column, rows, columns, reduced)))
    return packings


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@settings(deadline=None, max_examples=25)
@given(data=st.data(), grid=st.integers(1, 6), channels=st.integers(1, 40))
def test_pool_pack_agrees_with_the_oracle_in_any_mixed_batch(
    name: str, data: st.DataObject, grid: int, channels: int
) -> None:
    packings = data.draw(any_packings(grid))
    views = sum(packing.views for packing in packings)
    check(
        name, random_tensor(torch.float16, views, grid**2, channels), packings, rows=150 if name == "triton" else None
    )


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_pool_pack_keeps_a_nan_within_its_windows(name: str) -> None:
    features = torch.zeros(2, 16, 4)
    features[0, 5, 2] = float("nan")
    result = IMPLEMENTATIONS[name](features, index_plan.build(4, [Packing("max", 2), Packing("average", 2)]), None)
    assert result.isnan().nonzero().tolist() == [[0, 2]]


def test_pool_pack_reads_addresses_beyond_32_bits() -> None:
    """Two visuals 2^31 elements apart, by stride; the memory between them is never touched."""
    storage = torch.empty(2**31 + 64, dtype=torch.float16)
    apart = storage.as_strided((2, 4, 8), (2**31, 8, 1))
    apart.copy_(random_tensor(torch.float16, 2, 4, 8))
    result = kernel.launch(apart, index_plan.build(2, [Packing(), Packing("average", 2)]), None)
    together = apart.contiguous()
    assert result.equal(reference.pool_pack(together, [Packing(), Packing("average", 2)]))


def test_pooling_before_a_linear_layer_is_pooling_after_it() -> None:
    features = random_tensor(torch.float64, 7, 81, 6)
    weight, bias = random_tensor(torch.float64, 5, 6, seed=1), random_tensor(torch.float64, 5, seed=2)
    plan = index_plan.build(9, [Packing(*pooling) for pooling in POOLINGS if pooling[0] != "max"])
    before = torch.nn.functional.linear(ops.pool_pack(features, plan), weight, bias)
    after = ops.pool_pack(torch.nn.functional.linear(features, weight, bias), plan)
    torch.testing.assert_close(before, after, rtol=1e-12, atol=1e-12)
