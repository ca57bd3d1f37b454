"""The split of memory at the start: KV blocks leave room for encoder outputs, and on a CPU take what is free."""

import io
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from vllm.config import EncoderCacheManagerConfig
from vllm.utils import cpu_resource_utils
from vllm.v1.worker import cpu_worker

from llava_interleave_serve.server.engine import memory, memory_plan
from llava_interleave_serve.server.engine import vllm_compat as vllm_compat_of_the_server
from llava_interleave_serve.server.engine.defaults import ENCODER_CACHE

GIB = 2**30
pytestmark = pytest.mark.usefixtures("on_a_gpu")


def vllm_config(hidden: int = 4096, tokens_a_step: int = 8192, cache: str | None = ENCODER_CACHE, **kept: int) -> Any:
    """As vLLM's configuration of a published model; 1,000 KV blocks."""
    heads = hidden // 128
    vision = SimpleNamespace(
        image_size=384, patch_size=14, hidden_size=1152, intermediate_size=4304, num_hidden_layers=26
    )
    text = SimpleNamespace(
        hidden_size=hidden, intermediate_size=11_008, num_hidden_layers=32, num_attention_heads=heads,
        num_key_value_heads=heads, vocab_size=152_000, tie_word_embeddings=False, max_position_embeddings=32_768,
    )  # fmt: skip
    manager = {"encoder_cache_manager_cls": cache} if cache else {}
    return SimpleNamespace(
        ec_manager_config=EncoderCacheManagerConfig(**manager, manager_config=kept),
        model_config=SimpleNamespace(
            hf_config=SimpleNamespace(vision_config=vision, text_config=text),
            dtype=torch.bfloat16,
            max_model_len=12_000,
        ),
        scheduler_config=SimpleNamespace(
            max_num_batched_tokens=tokens_a_step, encoder_cache_size=tokens_a_step, max_num_seqs=128
        ),
        parallel_config=SimpleNamespace(data_parallel_index=0, tensor_parallel_size=1),
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
        "1,000 KV blocks hold 16,000 tokens or 21 unpooled visuals; a context has 12,000"
    )


def test_the_log_names_no_share_where_vllm_takes_none() -> None:
    assert "for weights" not in memory.describe(vllm_config(), None)
    config = vllm_config()
    config.cache_config.kv_cache_memory_bytes = GIB
    assert "for weights" not in memory.describe(config, 24 * GIB)


def as_vllm_sees(monkeypatch: pytest.MonkeyPatch, total: int, available: int) -> None:
    """The memory that vLLM's worker and this server read."""
    info = SimpleNamespace(total_memory=total, available_memory=available)
    for module in (cpu_worker, vllm_compat_of_the_server):
        monkeypatch.setattr(module, "get_memory_node_info", lambda _: info)
    free = SimpleNamespace(available=available)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)


def kv_bytes_that_vllm_takes(config: Any) -> int:
    """What vLLM's worker on a CPU gives to KV blocks; raises ValueError as it does."""
    worker: Any = object.__new__(cpu_worker.CPUWorker)
    worker.cache_config = config.cache_config
    worker.requested_cpu_memory = int(config.cache_config.gpu_memory_utilization * 64 * GIB)
    worker._should_warm_up_model = lambda: False
    taken: int = worker.determine_available_memory()
    return taken


def test_on_a_cpu_with_half_of_its_memory_taken_kv_blocks_get_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    config = vllm_config(tokens_a_step=2048)
    as_vllm_sees(monkeypatch, 64 * GIB, 32 * GIB)
    with pytest.raises(ValueError, match="less than requested memory for kv"):
        kv_bytes_that_vllm_takes(config)
    free = vllm_compat_of_the_server.free_bytes(1)
    assert free == 32 * GIB
    assert memory.take_free_memory(config, free)
    weights = 8_140_000_000 * 2
    assert kv_bytes_that_vllm_takes(config) == config.cache_config.kv_cache_memory_bytes
    assert 5 * GIB < config.cache_config.kv_cache_memory_bytes < 0.8 * free - weights
    as_vllm_sees(monkeypatch, 64 * GIB, 32 * GIB - weights)  # once they are loaded
    assert kv_bytes_that_vllm_takes(config) == config.cache_config.kv_cache_memory_bytes
    room = memory_plan.gib(config.cache_config.kv_cache_memory_bytes)
    assert f"memory: {room} of 32.00 GiB that were free for KV blocks; up to" in memory.describe(config, None, free)


def test_the_operators_own_room_for_kv_blocks_stays() -> None:
    config = vllm_config()
    config.cache_config.kv_cache_memory_bytes = GIB
    assert not memory.take_free_memory(config, 100 * GIB)
    assert config.cache_config.kv_cache_memory_bytes == GIB


def test_weights_that_do_not_fit_into_what_is_free_are_refused_before_they_are_loaded() -> None:
    with pytest.raises(
        ValueError,
        match=r"no room is left for KV blocks in 12\.00 GiB .* weights take 15\.1.*; --kv-cache-memory-bytes goes",
    ):
        memory.take_free_memory(vllm_config(), 12 * GIB)


@pytest.mark.parametrize(("workers", "expected"), [(1, 6), (2, 3)])
def test_a_containers_limit_bounds_what_is_free(workers: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_resource_utils, "get_cgroup_memory_limit", lambda: 7 * GIB)
    monkeypatch.setattr(cpu_resource_utils, "get_cgroup_memory_usage", lambda: GIB)
    monkeypatch.setattr(vllm_compat_of_the_server, "get_allowed_cpu_list", lambda: [SimpleNamespace(numa_node=0)])
    free = SimpleNamespace(available=500 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    meminfo = "".join(
        f"Node 0 {name}: {100 << 20} kB\n"
        for name in ("MemTotal", "MemFree", "Active(file)", "Inactive(file)", "SReclaimable")
    )
    monkeypatch.setattr(cpu_resource_utils, "open", lambda _: io.StringIO(meminfo), raising=False)
    monkeypatch.setattr(cpu_resource_utils.os.path, "exists", lambda _: True)
    assert vllm_compat_of_the_server.free_bytes(workers) == expected * GIB
