"""The tower's attention on a CPU, where ours is the faster."""

import torch
from torch import nn
from torch.nn import functional

from llava_interleave_serve.kernels import cpu

LEAST_PATCHES = 256  # of a visual; below it one call of torch's own is cheaper than our loop


class TowerAttention(nn.Module):
    """Takes the place of vLLM's MMEncoderAttention: query, key, value [n, patches, heads * D], to the same."""

    def __init__(self, heads: int, scale: float) -> None:
        super().__init__()
        self._heads, self._scale = heads, scale

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if query.dtype == torch.bfloat16 and query.shape[1] >= LEAST_PATCHES:
            return cpu.attention(query, key, value, self._heads, self._scale)
        query, key, value = (each.unflatten(2, (self._heads, -1)).transpose(1, 2) for each in (query, key, value))
        attended = functional.scaled_dot_product_attention(query, key, value, scale=self._scale)
        return attended.transpose(1, 2).flatten(2)


def place(layer: nn.Module) -> None:
    """Puts ours into a layer of a SigLIP encoder."""
    attention = layer.self_attn
    attention.attn = TowerAttention(attention.num_heads_per_partition, attention.scale)
