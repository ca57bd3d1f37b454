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


# vLLM's platform, as far as the server's defaults ask it.
CPU = SimpleNamespace(is_cpu=lambda: True)
L4 = SimpleNamespace(
    is_cpu=lambda: False, get_device_total_memory=lambda: 24 << 30, get_device_name=lambda: "NVIDIA L4"
)
A100 = SimpleNamespace(
    is_cpu=lambda: False, get_device_total_memory=lambda: 80 << 30, get_device_name=lambda: "NVIDIA A100-SXM4-80GB"
)
PLATFORMS = {"CPU": CPU, "GPU": A100}


def serve_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the server's code take this machine for one of PLATFORMS, with the driver and shared memory that it needs."""
    from llava_interleave_serve.server.engine import defaults, vllm_compat

    monkeypatch.setattr(vllm_compat, "current_platform", PLATFORMS[name])
    monkeypatch.setattr(defaults, "SHARED_MEMORY_BYTES", 0)
