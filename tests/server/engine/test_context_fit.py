"""The context that vLLM fits to a card of 24 GB, for the 7B model."""

from typing import Any

import pytest
import torch
from vllm.v1.core import kv_cache_utils
from vllm.v1.kv_cache_interface import FullAttentionSpec

from llava_interleave_serve.benchmarks.model.dimensions import SIZES
from tests.support import vllm_scheduler

FREE = 5 << 30  # bytes for KV blocks, once 15 GB of weights are on the card


def fit(max_model_len: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """vLLM's configuration with the KV blocks of the 7B model sized for FREE, at the context that was asked for."""
    config, size = vllm_scheduler.published_config(), SIZES["7b"]
    monkeypatch.setattr(config.model_config, "original_max_model_len", max_model_len)
    monkeypatch.setattr(config.model_config, "max_model_len", size.context if max_model_len < 0 else max_model_len)
    monkeypatch.setattr(config.cache_config, "kv_cache_layout", "LBNHC")
    spec = FullAttentionSpec(
        block_size=16, num_kv_heads=size.heads, head_size=size.hidden // size.heads, dtype=torch.bfloat16
    )
    kv_cache_utils.get_kv_cache_configs(config, [{f"layer {layer}": spec for layer in range(size.layers)}], [FREE])
    return config


def test_one_whole_context_of_the_7b_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="32768"):
        fit(32_768, monkeypatch)


def test_a_fitted_context_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 10_000 < fit(-1, monkeypatch).model_config.max_model_len <= FREE // (512 << 10)
