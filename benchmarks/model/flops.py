"""Floating point operations: what this machine makes of them a second, and what the model needs."""

import time

import torch

from llava_interleave_serve.benchmarks.model.random_checkpoint import Size


def products() -> float:
    """bfloat16 matrix products of this machine, FLOP a second, the best of several."""
    left, right = torch.randn(2048, 4096).bfloat16(), torch.randn(4096, 4096).bfloat16()
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - started)
    return 2 * 2048 * 4096 * 4096 / best


def tower(size: Size, visuals: int) -> float:
    """FLOP of tower and projector for so many unpooled visuals."""
    patches, wide = size.patches, size.tower_hidden
    layer = 2 * patches * wide * (4 * wide + 2 * size.tower_intermediate) + 4 * patches**2 * wide
    projector = 2 * patches * size.hidden * (wide + size.hidden)
    return visuals * (size.tower_layers * layer + projector)


def prefill(size: Size, tokens: int) -> float:
    """FLOP of the language model's prefill of so many tokens, causal attention."""
    linear = 2 * tokens * size.hidden * (4 * size.hidden + 3 * size.intermediate)
    return size.layers * (linear + 2 * tokens**2 * size.hidden)
