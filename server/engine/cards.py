"""Devices that a model may be served on: their memory, and what vLLM 0.32 takes of it by default."""

from dataclasses import dataclass

from llava_interleave_serve.model_executor import encoder_limits

GIB = 2**30
VLLM_SHARE = 0.92  # of a GPU's memory, vLLM's default
CPU_SHARE = 0.8  # of the memory that is free at the start; what decodes media and the page cache live in the rest
GPU_RUNTIME_BYTES = GIB // 2  # an estimate
CPU_RUNTIME_BYTES = 3 * GIB // 2  # the engine's process had 0.6 GiB of libraries when nothing was loaded


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
    """A GPU with the defaults of vLLM's server: `EngineArgs.get_batch_defaults`, which a test compares."""
    tokens, sequences = 2048, 256
    if memory_bytes >= 160 * GIB:
        tokens, sequences = 16_384, 1024
    elif memory_bytes >= 70 * GIB and "a100" not in name.lower():
        tokens, sequences = 8192, 1024
    return Device(name, memory_bytes, VLLM_SHARE, GPU_RUNTIME_BYTES, tokens, sequences, 16, None)


def cpu(free_bytes: int, workers: int = 1) -> Device:
    """A CPU with the defaults of vLLM's server."""
    tokens, sequences = 2048 * workers, 128 * workers
    return Device(
        "CPU", free_bytes, CPU_SHARE, CPU_RUNTIME_BYTES, tokens, sequences, 128, encoder_limits.PATCHES_A_STEP
    )


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
