"""patchify agrees with the float64 oracle, on a CPU and as an interpreted kernel."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_interleave_serve.kernels import cpu, index_plan, ops, reference
from llava_interleave_serve.kernels._triton import patchify as kernel
from tests.support.tolerance import assert_as_exact_as_eager

IMPLEMENTATIONS = {"cpu": cpu.patchify, "triton": kernel.launch}


def views(count: int, side: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=random)


def check(name: str, given: torch.Tensor, patch: int, dtype: torch.dtype) -> None:
    scale, shift = torch.tensor([0.01, 0.02, 1 / 127.5]), torch.tensor([-1.0, 0.3, -0.5])
    oracle = reference.patchify(given, scale.double(), shift.double(), patch, torch.float64)
    eager = reference.patchify(given, scale, shift, patch, dtype)
    assert_as_exact_as_eager(IMPLEMENTATIONS[name](given, scale, shift, patch, dtype), eager, oracle)


@pytest.mark.usefixtures("dirty")
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize(("side", "patch"), [(384, 14), (112, 16), (9, 1), (5, 5), (29, 4), (16, 3)])
def test_patchify_agrees_with_the_oracle(name: str, side: int, patch: int, dtype: torch.dtype) -> None:
    check(name, views(1 if side > 200 else 3, side), patch, dtype)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@settings(deadline=None, max_examples=25)
@given(count=st.integers(0, 4), grid=st.integers(1, 6), patch=st.integers(1, 9), rest=st.integers(0, 5))
def test_patchify_agrees_with_the_oracle_at_any_shape(name: str, count: int, grid: int, patch: int, rest: int) -> None:
    check(name, views(count, grid * patch + rest % patch), patch, torch.bfloat16)


def test_the_contiguous_pieces_promised_to_the_compiler_are_contiguous() -> None:
    for side, patch in ((384, 14), (112, 16), (29, 4), (16, 3), (224, 8)):
        run, grid = kernel.contiguous_bytes(side, patch), side // patch
        columns = index_plan.patch_columns(patch)
        out = torch.arange(grid**2 * columns)
        row, in_row = out // columns, out % columns
        y = row // grid * patch + in_row // (patch * 3)
        address = y * side * 3 + row % grid * patch * 3 + in_row % (patch * 3)
        filled = (in_row < patch**2 * 3).view(-1, run)
        assert (filled == filled[:, :1]).all()  # a piece is loaded whole or not at all
        runs = address.view(-1, run)[filled[:, 0]]
        assert (runs[:, :1] % run == 0).all()
        assert (runs == runs[:, :1] + torch.arange(run)).all()


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize(("patch", "columns"), [(14, 592), (16, 768), (3, 32), (1, 8)])
@pytest.mark.usefixtures("dirty")
def test_rows_are_padded_with_zeros_to_whole_vectors(name: str, patch: int, columns: int) -> None:
    ones = torch.ones(3)
    rows = IMPLEMENTATIONS[name](views(2, 2 * patch + patch // 2), ones, ones, patch, torch.bfloat16)
    assert rows.shape == (8, columns)
    assert (rows[:, : 3 * patch**2] >= 1).all()
    assert (rows[:, 3 * patch**2 :] == 0).all()


def test_patchify_takes_views_that_are_not_contiguous() -> None:
    apart = torch.stack((views(2, 8, 1), views(2, 8, 2)), 1)[:, 1]
    ones = torch.ones(3)
    assert not apart.is_contiguous()
    assert ops.patchify(apart, ones, ones, 4, torch.float32).equal(
        reference.patchify(apart, ones, ones, 4, torch.float32)
    )
