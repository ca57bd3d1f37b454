"""The tower's attention on a CPU, where ours is the faster."""

import torch
from torch import nn

from llava_interleave_serve.kernels import cpu

LEAST_PATCHES = 256  # of a visual; below it one call of the other is cheaper than our loop


class TowerAttention(nn.Module):
    """Stands before vLLM's own, for what is faster here: query, key, value [n, patches, heads * D], to the same."""

    def __init__(self, other: nn.Module, heads: int, scale: float) -> None:
        super().__init__()
        self._other, self._heads, self._scale = other, heads, scale

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if query.dtype == torch.bfloat16 and query.shape[1] >= LEAST_PATCHES:
            return cpu.attention(query, key, value, self._heads, self._scale)
        attended: torch.Tensor = self._other(query, key, value)
        return attended


def place(layer: nn.Module) -> None:
    """Puts ours into a layer of a SigLIP encoder."""
    attention = layer.self_attn
    attention.attn = TowerAttention(attention.attn, attention.num_heads_per_partition, attention.scale)
