"""pool_pack agrees with the float64 oracle, on a CPU and as an interpreted kernel."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_interleave_serve.kernels import cpu, index_plan, ops, reference
from llava_interleave_serve.kernels._triton import pool_pack as kernel
from tests.support.tolerance import assert_as_exact_as_eager

IMPLEMENTATIONS = {"cpu": cpu.pool_pack, "triton": kernel.launch}
POOLINGS = [("none", 1), *((mode, stride) for mode in ("average", "max", "bilinear") for stride in (2, 3, 4))]


def fitting(grid: int) -> list[tuple[str, int]]:
    return [(mode, stride) for mode, stride in POOLINGS if index_plan.pooled_side(grid, mode, stride) >= 1]


def random_tensor(dtype: torch.dtype, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def check(
    name: str,
    features: torch.Tensor,
    poolings: Sequence[tuple[str, int]],
    layout: str = "none",
    rows: int | None = None,
) -> None:
    """rows: how many of the packed rows are computed, evenly spread, since the interpreter is slow; None for all."""
    grid = round(features.shape[1] ** 0.5)
    newline = random_tensor(features.dtype, features.shape[2], seed=9) if layout != "none" else None
    oracle = reference.pool_pack(features.double(), poolings, None if newline is None else newline.double(), layout)
    eager = reference.pool_pack(features, poolings, newline, layout)
    plan = index_plan.build(grid, poolings, layout)
    selected = torch.arange(len(plan)) if rows is None else torch.linspace(0, len(plan) - 1, rows).long().unique()
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
    poolings = [("bilinear", 2), ("none", 1), ("max", 3), ("average", 2)]
    check(name, random_tensor(dtype, 4, 9, channels), poolings)


@pytest.mark.usefixtures("dirty")
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("layout", index_plan.LAYOUTS)
def test_pool_pack_puts_newlines_where_the_layout_does(name: str, layout: str, dtype: torch.dtype) -> None:
    check(name, random_tensor(dtype, 4, 25, 20), [("average", 2), ("none", 1), ("average", 2), ("max", 4)], layout)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@settings(deadline=None, max_examples=25)
@given(data=st.data(), grid=st.integers(1, 7), channels=st.integers(1, 40), layout=st.sampled_from(index_plan.LAYOUTS))
def test_pool_pack_agrees_with_the_oracle_in_any_mixed_batch(
    name: str, data: st.DataObject, grid: int, channels: int, layout: str
) -> None:
    poolings = data.draw(st.lists(st.sampled_from(fitting(grid)), max_size=5))
    check(name, random_tensor(torch.float16, len(poolings), grid**2, channels), poolings, layout)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_pool_pack_keeps_a_nan_within_its_windows(name: str) -> None:
    features = torch.zeros(2, 16, 4)
    features[0, 5, 2] = float("nan")
    result = IMPLEMENTATIONS[name](features, index_plan.build(4, [("max", 2), ("average", 2)]), None)
    assert result.isnan().nonzero().tolist() == [[0, 2]]


def test_pool_pack_reads_addresses_beyond_32_bits() -> None:
    """Two visuals 2^31 elements apart, by stride; the memory between them is never touched."""
    storage = torch.empty(2**31 + 64, dtype=torch.float16)
    apart = storage.as_strided((2, 4, 8), (2**31, 8, 1))
    apart.copy_(random_tensor(torch.float16, 2, 4, 8))
    result = kernel.launch(apart, index_plan.build(2, [("none", 1), ("average", 2)]), None)
    together = apart.contiguous()
    assert result.equal(reference.pool_pack(together, [("none", 1), ("average", 2)]))


def test_pooling_before_a_linear_layer_is_pooling_after_it() -> None:
    features = random_tensor(torch.float64, 7, 81, 6)
    weight, bias = random_tensor(torch.float64, 5, 6, seed=1), random_tensor(torch.float64, 5, seed=2)
    poolings = [pooling for pooling in POOLINGS if pooling[0] != "max"]
    plan = index_plan.build(9, poolings)
    before = torch.nn.functional.linear(ops.pool_pack(features, plan), weight, bias)
    after = ops.pool_pack(torch.nn.functional.linear(features, weight, bias), plan)
    torch.testing.assert_close(before, after, rtol=1e-12, atol=1e-12)
