"""Devices that a model may be served on: their memory, and what is taken of it by default."""

import math
from dataclasses import dataclass

from llava_interleave_serve.model_executor import encoder_limits

GIB = 2**30
CPU = "CPU"  # the name of the device
VLLM_SHARE = 0.92  # of a GPU's memory, vLLM's default
CPU_SHARE = 0.8  # of the memory that is free at the start; what decodes media and the page cache live in the rest
GPU_RUNTIME_BYTES = GIB // 2  # an estimate
CPU_RUNTIME_BYTES = 3 * GIB // 2  # the engine's process had 0.6 GiB of libraries when nothing was loaded
PUBLISHED_PATCHES = 27**2  # of a visual of the published models
BLOCK_SIZE = 16  # of KV blocks on a GPU
SMALL_BYTES = 30 * GIB  # a GPU with less has a shorter step, whose activations leave more for KV blocks
# Unpooled visuals of a step: near 4,096, 8,192 and 16,384 tokens.
VISUALS_A_SMALL_STEP, VISUALS_A_STEP, VISUALS_A_LARGE_STEP = 6, 11, 22


@dataclass(frozen=True, slots=True)
class Device:
    """A device, and how vLLM uses it by default.

    Attributes:
        name: its name.
        memory_bytes: its whole memory as CUDA reports it; on a CPU, what is free at the start.
        share: of the memory that this server takes.
        runtime_bytes: of CUDA graphs and libraries.
        tokens_a_step: of all requests in one step of the engine.
        sequences: most requests in one step.
        block_size: tokens of a KV block.
        patches_a_step: patches encoded in one step; None for as many as a step has tokens.

    """

    name: str
    memory_bytes: int
    share: float
    runtime_bytes: int
    tokens_a_step: int
    sequences: int
    block_size: int
    patches_a_step: int | None


def gpu(name: str, memory_bytes: int) -> Device:
    """A GPU with this server's tokens a step, and the other defaults of vLLM's server, which a test compares.

    vLLM has 2,048 tokens a step on most GPUs: two visuals of 729 patches, and more than a quarter of each step idle.
    """
    sequences, visuals = 256, VISUALS_A_STEP
    if memory_bytes < SMALL_BYTES:
        visuals = VISUALS_A_SMALL_STEP
    elif memory_bytes >= 160 * GIB:
        sequences, visuals = 1024, VISUALS_A_LARGE_STEP
    elif memory_bytes >= 70 * GIB and "a100" not in name.lower():
        sequences = 1024
    tokens = tokens_of_whole_visuals(visuals)
    return Device(name, memory_bytes, VLLM_SHARE, GPU_RUNTIME_BYTES, tokens, sequences, BLOCK_SIZE, None)


def tokens_of_whole_visuals(visuals: int) -> int:
    """Tokens of a step of so many unpooled visuals of the published models, and one in a hundred for text between them.

    A multiple of a KV block. vLLM's scheduler begins no visual that a step could not encode whole, so that another
    number of tokens leaves up to 728 of them idle.
    """
    return math.ceil(visuals * PUBLISHED_PATCHES * 1.01 / BLOCK_SIZE) * BLOCK_SIZE


def cpu(free_bytes: int, workers: int = 1) -> Device:
    """A CPU with the defaults of vLLM's server."""
    tokens, sequences = 2048 * workers, 128 * workers
    return Device(CPU, free_bytes, CPU_SHARE, CPU_RUNTIME_BYTES, tokens, sequences, 128, encoder_limits.PATCHES_A_STEP)


# GiB as CUDA reports them, rounded down: less than the name says, by what the driver and error correction take.
CARDS = {
    key: gpu(name, int(memory * GIB))
    for key, name, memory in (
        ("l4", "L4 24 GB", 22.0),
        ("a10", "A10 24 GB", 22.0),
        ("rtx4090", "RTX 4090 24 GB", 23.5),
        ("a100-40", "A100 40 GB", 39.4),
        ("a100-80", "A100 80 GB", 79.1),
        ("h100", "H100 80 GB", 79.1),
        ("h200", "H200 141 GB", 139.7),
        ("b200", "B200 192 GB", 178.3),
    )
}
