"""The platform that tests run on, or take this machine for."""

import contextlib
import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

GPU_MISSING = "needs a GPU, and kernels that are compiled and not interpreted: make gpu-check"
VARIABLE = "TRITON_INTERPRET"
COMPILED = os.environ.get(VARIABLE) == "0"  # as `make gpu-check` says


def compiles_for_a_gpu() -> bool:
    """True if kernels run on a GPU in this process."""
    return COMPILED and torch.cuda.is_available()


@contextlib.contextmanager
def interpreted_kernels() -> Iterator[None]:
    """What of Triton is imported in the block is interpreted, for good; except under `make gpu-check`."""
    if COMPILED:
        yield
        return
    os.environ[VARIABLE] = "1"
    yield
    del os.environ[VARIABLE]  # servers that tests start are to run as they are


def take_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the model's code take the platform for a GPU, and vLLM's linear layers keep their weights as they are."""
    from vllm.model_executor.layers import linear
    from vllm.model_executor.layers.utils import default_unquantized_gemm

    from llava_interleave_serve.model_executor import vllm_compat

    monkeypatch.setattr(vllm_compat, "current_platform", SimpleNamespace(is_cpu=lambda: False))
    monkeypatch.setattr(linear, "dispatch_unquantized_gemm", lambda *_: default_unquantized_gemm)
    monkeypatch.setattr(linear.UnquantizedLinearMethod, "process_weights_after_loading", lambda *_: None)
