"""Defaults of the engine on a GPU and on a CPU, whatever this machine has."""

from types import SimpleNamespace

import pytest

from llava_interleave_serve.server import cli
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.engine import vllm_compat

GPU = SimpleNamespace(is_cpu=lambda: False, get_device_total_memory=lambda: 24 << 30)
CPU = SimpleNamespace(is_cpu=lambda: True)


def parse(*argv: str) -> ServerConfig:
    return cli.parse(["some/model", *argv])


def test_on_a_gpu_the_context_is_fitted_to_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", GPU)
    assert parse().engine_args.max_model_len == -1
    assert parse("--max-model-len", "4096").engine_args.max_model_len == 4096


def test_on_a_cpu_the_context_is_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", CPU)
    assert parse().engine_args.max_model_len is None


def test_an_operators_own_share_of_memory_stays() -> None:
    assert parse().reserves_outputs
    assert not parse("--gpu-memory-utilization", "0.92").reserves_outputs
    assert not parse("--kv-cache-memory-bytes", "1000000000").reserves_outputs
