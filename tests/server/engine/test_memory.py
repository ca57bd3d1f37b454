"""The split of a GPU's memory: KV blocks leave room for the encoder outputs that are kept."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.config import EncoderCacheManagerConfig

from llava_interleave_serve.server.engine import memory
from llava_interleave_serve.server.engine.defaults import ENCODER_CACHE

GIB = 2**30
pytestmark = pytest.mark.usefixtures("on_a_gpu")


def vllm_config(hidden: int = 4096, tokens_a_step: int = 8192, cache: str | None = ENCODER_CACHE, **kept: int) -> Any:
    """As vLLM's configuration of a published model; 1,000 KV blocks."""
    vision, text = SimpleNamespace(image_size=384, patch_size=14), SimpleNamespace(hidden_size=hidden)
    manager = {"encoder_cache_manager_cls": cache} if cache else {}
    return SimpleNamespace(
        ec_manager_config=EncoderCacheManagerConfig(**manager, manager_config=kept),
        model_config=SimpleNamespace(
            hf_config=SimpleNamespace(vision_config=vision, text_config=text),
            dtype=torch.bfloat16,
            max_model_len=12_000,
        ),
        scheduler_config=SimpleNamespace(max_num_batched_tokens=tokens_a_step, encoder_cache_size=tokens_a_step),
        cache_config=SimpleNamespace(
            gpu_memory_utilization=0.92, kv_cache_memory_bytes=None, num_gpu_blocks=1000, block_size=16
        ),
    )


@pytest.mark.parametrize(
    ("hidden", "kept", "rows"),
    [(1024, {}, 64 * 729), (4096, {}, 64 * 729), (4096, {"visuals_kept": 256}, 256 * 729)],
)
def test_kept_outputs_are_taken_from_the_share_of_vllm(hidden: int, kept: dict[str, Any], rows: int) -> None:
    config = vllm_config(hidden, **kept)
    memory.reserve_outputs(config, 24 * GIB)
    lowered_by = (0.92 - config.cache_config.gpu_memory_utilization) * 24 * GIB
    assert lowered_by == pytest.approx(rows * hidden * 2, rel=1e-6)


def test_never_less_is_taken_than_the_outputs_of_a_step_need() -> None:
    assert memory.output_bytes(vllm_config(tokens_a_step=16_384, visuals_kept=1)) == 16_384 * 4096 * 2
    assert memory.output_bytes(vllm_config(tokens_a_step=512, visuals_kept=1)) == 729 * 4096 * 2


def test_vllms_own_encoder_cache_takes_nothing() -> None:
    config = vllm_config(cache=None)
    memory.reserve_outputs(config, 24 * GIB)
    assert config.cache_config.gpu_memory_utilization == 0.92
    assert "encoder" not in memory.describe(config, 24 * GIB)


def test_more_outputs_than_the_device_holds_are_refused_before_the_weights_are_loaded() -> None:
    with pytest.raises(ValueError, match=r"22\.25 GiB of the device's 24\.00 GiB: lower --encoder-cache-visuals"):
        memory.reserve_outputs(vllm_config(visuals_kept=4000), 24 * GIB)


def test_the_log_says_how_the_memory_is_split() -> None:
    config = vllm_config()
    memory.reserve_outputs(config, 24 * GIB)
    assert memory.describe(config, 24 * GIB) == (
        "memory: 21.72 GiB of 24.00 GiB (0.905) for weights and KV blocks; up to 0.36 GiB for kept encoder outputs; "
        "1,000 KV blocks hold 16,000 tokens; a context has 12,000"
    )


def test_the_log_names_no_share_where_vllm_takes_none() -> None:
    assert "for weights" not in memory.describe(vllm_config(), None)
    config = vllm_config()
    config.cache_config.kv_cache_memory_bytes = GIB
    assert "for weights" not in memory.describe(config, 24 * GIB)
