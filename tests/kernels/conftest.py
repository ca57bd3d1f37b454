"""Tests of kernels run in Triton's interpreter, which is chosen by an environment variable when Triton is imported."""

import importlib

import pytest
import torch

from tests.support.fakes import platform

with platform.interpreted_kernels():
    importlib.import_module("triton.experimental.gluon")  # else the first launch imports it
    for kernel in ("merge_prefill", "patchify", "pool_pack"):
        importlib.import_module(f"llava_interleave_serve.kernels._triton.{kernel}")

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture(params=DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def dirty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fills fresh memory with NaN, so that a test sees what a kernel left unwritten."""
    empty, new_empty = torch.empty, torch.Tensor.new_empty

    def nan(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.fill_(float("nan")) if tensor.dtype.is_floating_point else tensor

    monkeypatch.setattr(torch, "empty", lambda *size, **options: nan(empty(*size, **options)))
    monkeypatch.setattr(
        torch.Tensor, "new_empty", lambda self, *size, **options: nan(new_empty(self, *size, **options))
    )
