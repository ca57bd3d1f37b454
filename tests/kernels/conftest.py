"""Tests of kernels run Triton's interpreter, which has to be asked for before Triton and the kernels are imported."""

import importlib
import os

import pytest
import torch

os.environ["TRITON_INTERPRET"] = "1"
importlib.import_module("triton.experimental.gluon")  # or the first launch would
for kernel in ("merge_prefill", "patchify", "pool_pack"):
    importlib.import_module(f"llava_interleave_serve.kernels._triton.{kernel}")
del os.environ["TRITON_INTERPRET"]  # servers that other tests start are to run as they are

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture(params=DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def dirty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh memory is full of NaN, so that what a kernel leaves unwritten shows."""
    empty, new_empty = torch.empty, torch.Tensor.new_empty

    def nan(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.fill_(float("nan")) if tensor.dtype.is_floating_point else tensor

    monkeypatch.setattr(torch, "empty", lambda *size, **options: nan(empty(*size, **options)))
    monkeypatch.setattr(
        torch.Tensor, "new_empty", lambda self, *size, **options: nan(new_empty(self, *size, **options))
    )
