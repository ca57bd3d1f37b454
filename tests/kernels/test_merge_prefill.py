"""merge_prefill equals its definition bit by bit, on a CPU and as an interpreted kernel."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_interleave_serve.kernels import cpu, index_plan, reference
from llava_interleave_serve.kernels._triton import merge_prefill as kernel

IMPLEMENTATIONS = {"cpu": cpu.merge_prefill, "triton": kernel.launch}


def check(name: str, is_visual: torch.Tensor, channels: int, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 11, is_visual.shape, generator=random)
    ids[is_visual] = 2**30  # no placeholder is looked up
    table = torch.randn(11, channels, generator=random).to(dtype)
    rows = torch.randn(int(is_visual.sum()), channels, generator=random).to(dtype)
    row_index = index_plan.visual_row_indices(is_visual)
    result = IMPLEMENTATIONS[name](ids, table, rows, row_index)
    assert result.equal(reference.merge_prefill(ids, table, rows, row_index))


@pytest.mark.usefixtures("dirty")
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("channels", [64, 896, 1024, 3584, 4096, 77])
def test_merge_prefill_copies_rows_of_every_width(name: str, channels: int, dtype: torch.dtype) -> None:
    check(name, torch.tensor([False, True, True, False, False, True]), channels, dtype)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@settings(deadline=None, max_examples=40)
@given(mask=st.lists(st.booleans(), max_size=30), channels=st.integers(1, 40))
def test_merge_prefill_takes_text_and_visuals_in_any_order(name: str, mask: list[bool], channels: int) -> None:
    check(name, torch.tensor(mask, dtype=torch.bool), channels, torch.float32)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_merge_prefill_takes_visual_rows_in_any_order(name: str) -> None:
    table, rows = torch.arange(3.0)[:, None], torch.tensor([[10.0], [11.0], [12.0]])
    row_index = torch.tensor([2, -1, 0, 1], dtype=torch.int32)
    result = IMPLEMENTATIONS[name](torch.tensor([0, 1, 0, 0]), table, rows, row_index)
    assert result[:, 0].tolist() == [12, 1, 10, 11]


def test_merge_prefill_reads_addresses_beyond_32_bits() -> None:
    """Rows 2^30 elements apart, by stride; the memory between them is never touched."""
    storage = torch.empty(2**31 + 64, dtype=torch.float16)
    rows, table = storage.as_strided((3, 8), (2**30, 1)), torch.ones(2, 8, dtype=torch.float16)
    rows.copy_(torch.randn(3, 8))
    row_index = torch.tensor([2, -1, 0], dtype=torch.int32)
    result = kernel.launch(torch.tensor([0, 1, 0]), table, rows, row_index)
    assert result.equal(torch.stack((rows[2], table[1], rows[0])))
