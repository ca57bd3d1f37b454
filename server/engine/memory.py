"""The device's memory at the start: the share that vLLM takes, what of it encoder outputs need, and KV blocks' room."""

import dataclasses
from typing import Any

from llava_interleave_serve.server.engine import cards, memory_plan

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
    share = memory_plan.share_without_outputs(cache.gpu_memory_utilization, kept, total_bytes)
    if share < SMALLEST_SHARE:
        raise ValueError(
            f"the encoder outputs to be kept take up to {memory_plan.gib(kept)} of the device's "
            f"{memory_plan.gib(total_bytes)}: lower --encoder-cache-visuals, or say --gpu-memory-utilization"
        )
    cache.gpu_memory_utilization = share


def take_free_memory(vllm_config: Any, free_bytes: int) -> bool:
    """Gives the KV blocks of a CPU their room out of what is free, unless the operator has: True if it did.

    vLLM itself wants its share of the whole memory, and does not start where another process has part of it.

    free_bytes: for each worker. Raises ValueError if the weights leave nothing of it.
    """
    cache, model, scheduler = vllm_config.cache_config, vllm_config.model_config, vllm_config.scheduler_config
    if cache.kv_cache_memory_bytes is not None:
        return False
    device = dataclasses.replace(
        cards.cpu(free_bytes),
        tokens_a_step=scheduler.max_num_batched_tokens,
        sequences=scheduler.max_num_seqs,
        block_size=cache.block_size,
    )
    sizes = memory_plan.ModelSizes.of(model.hf_config, model.dtype.itemsize)
    workers = vllm_config.parallel_config.tensor_parallel_size
    try:
        plan = memory_plan.split(sizes, device, output_bytes(vllm_config) or 0, workers=workers)
    except ValueError as error:
        # The weights of a quantised checkpoint are counted as if it were not quantised.
        raise ValueError(f"{error}; --kv-cache-memory-bytes goes before this estimate") from None
    cache.kv_cache_memory_bytes = plan.kv_bytes
    return True


def describe(vllm_config: Any, total_bytes: int | None, free_bytes: int | None = None) -> str:
    """How the memory is split, once vLLM has sized its KV blocks; one sentence for the log.

    total_bytes: memory of the device; None on a CPU. free_bytes: of which `take_free_memory` took the room.
    """
    cache, first = vllm_config.cache_config, None
    if free_bytes is not None:
        first = memory_plan.room_of(free_bytes, cache.kv_cache_memory_bytes)
    elif total_bytes is not None and cache.kv_cache_memory_bytes is None:
        first = memory_plan.share_of(total_bytes, cache.gpu_memory_utilization)
    vision = vllm_config.model_config.hf_config.vision_config
    return memory_plan.sentence(
        cache.num_gpu_blocks,
        cache.block_size,
        (vision.image_size // vision.patch_size) ** 2,
        vllm_config.model_config.max_model_len,
        kept_bytes=output_bytes(vllm_config),
        first=first,
    )
