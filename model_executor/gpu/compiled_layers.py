"""Layers of the vision tower that torch compiles where vLLM's option says so: `compile_mm_encoder`."""

import torch
from torch import nn

from llava_interleave_serve.model_executor import vllm_compat


@vllm_compat.support_torch_compile(
    dynamic_arg_dims={"hidden_states": 0},
    # A first call of one view must not make code for one view: vLLM drops the guards that would tell.
    mark_unbacked_dims={"hidden_states": 0},
    enable_if=vllm_compat.should_torch_compile_mm_encoder,
    is_encoder=True,
)
class TowerLayer(nn.Module):
    """A layer of vLLM's SigLIP encoder, with the layer's own modules under their own names.

    Without the option, and in eager mode, it runs as it is written.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.self_attn, self.mlp = layer.self_attn, layer.mlp
        self.layer_norm1, self.layer_norm2 = layer.layer_norm1, layer.layer_norm2

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, None]:
        """[n, patches, C] to the same shape and dtype, as vLLM's encoder takes it."""
        attended, _ = self.self_attn(self.layer_norm1(hidden_states))
        attended += hidden_states
        transformed = self.mlp(self.layer_norm2(attended))
        transformed += attended
        return transformed, None
