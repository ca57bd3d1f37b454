"""The device's memory: the share that vLLM takes, what of it encoder outputs need, and what KV blocks got."""

from typing import Any

GIB = 2**30
SMALLEST_SHARE = 0.05  # of a device's memory; with less nothing can be served


def output_bytes(vllm_config: Any) -> int | None:
    """The most bytes of kept encoder outputs on each device; None for an encoder cache that is not ours."""
    cache = vllm_config.ec_manager_config.get_encoder_cache_manager_obj()
    measure = getattr(cache, "output_bytes", None)
    return None if measure is None else measure(vllm_config)


def reserve_outputs(vllm_config: Any, total_bytes: int) -> None:
    """Lowers the share of memory that vLLM takes, by what kept encoder outputs need.

    vLLM fills its share with weights, activations and KV blocks, and knows nothing of these outputs.

    total_bytes: memory of the device. Raises ValueError if the outputs leave nothing to serve with.
    """
    cache = vllm_config.cache_config
    kept = output_bytes(vllm_config) or 0
    share = cache.gpu_memory_utilization - kept / total_bytes
    if share < SMALLEST_SHARE:
        raise ValueError(
            f"the encoder outputs to be kept take up to {_gib(kept)} of the device's {_gib(total_bytes)}: lower "
            "--encoder-cache-visuals, or say --gpu-memory-utilization"
        )
    cache.gpu_memory_utilization = share


def describe(vllm_config: Any, total_bytes: int | None) -> str:
    """How the memory is split, once vLLM has sized its KV blocks; one sentence for the log.

    total_bytes: memory of the device; None on a CPU, where vLLM takes no share.
    """
    cache, parts = vllm_config.cache_config, []
    if total_bytes is not None and cache.kv_cache_memory_bytes is None:
        share = cache.gpu_memory_utilization
        parts.append(f"{_gib(share * total_bytes)} of {_gib(total_bytes)} ({share:.3f}) for weights and KV blocks")
    kept = output_bytes(vllm_config)
    if kept is not None:
        parts.append(f"up to {_gib(kept)} for kept encoder outputs")
    tokens = cache.num_gpu_blocks * cache.block_size
    parts.append(f"{cache.num_gpu_blocks:,} KV blocks hold {tokens:,} tokens")
    parts.append(f"a context has {vllm_config.model_config.max_model_len:,}")
    return "memory: " + "; ".join(parts)


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB"
