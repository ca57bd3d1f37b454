"""The tower: SigLIP up to the layer whose output the model reads, from uint8 views."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedConfig
from vllm.model_executor.layers.quantization import QuantizationConfig

from llava_interleave_serve.kernels import ops
from llava_interleave_serve.model_executor import tower_attention, tower_gelu, vllm_compat
from llava_interleave_serve.model_executor.config import tower_depth


class VisionTower(nn.Module):
    """uint8 views [n, S, S, 3] to features [n, G*G, C]: the hidden state *before* post_layernorm, in the tower's dtype.

    Views are normalised here, on the device: (view / 255 - mean) / std in float32, by the checkpoint's
    preprocessor_config.json.
    """

    def __init__(
        self,
        config: PreTrainedConfig,
        image_processor: Mapping[str, Any],
        quant_config: QuantizationConfig | None,
        prefix: str,
    ) -> None:
        super().__init__()
        self.vision_model = vllm_compat.SiglipVisionTransformer(
            config.vision_config,
            quant_config=quant_config,
            num_hidden_layers_override=tower_depth(config),
            require_post_norm=False,
            use_head=False,
            prefix=f"{prefix}.vision_model",
        )
        # Where a CPU has tiles (AMX), torch's own attention uses them; on a GPU vLLM's layers are the fast ones.
        if vllm_compat.has_bfloat16_vectors():
            for layer in self.vision_model.encoder.layers:
                tower_attention.place(layer)
                tower_gelu.place(layer, config.vision_config.hidden_act)
        half = [0.5, 0.5, 0.5]
        mean = torch.tensor(image_processor.get("image_mean") or half, dtype=torch.float32)
        std = torch.tensor(image_processor.get("image_std") or half, dtype=torch.float32)
        # Both plain attributes' tensors: buffers would be cast to the model's dtype.
        self._scale = 1.0 / (255.0 * std)
        self._shift = -mean / std

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        tower = self.vision_model
        hidden = self._embed(views, tower.embeddings.patch_embedding, tower.embeddings.position_embedding.weight)
        return tower.encoder(inputs_embeds=hidden, return_all_hidden_states=False)

    def _embed(self, views: torch.Tensor, patch: nn.Module, positions: torch.Tensor) -> torch.Tensor:
        """The patch embedding as one matrix product on patch rows, plus the positions: [n, G*G, C]."""
        scale, shift = self._scale.to(views.device), self._shift.to(views.device)
        rows = ops.patchify(views, scale, shift, patch.weight.shape[-1], patch.weight.dtype)
        weight = patch.weight.permute(0, 2, 3, 1).flatten(1)
        embedded = functional.linear(rows, weight, patch.bias)
        return embedded.unflatten(0, (len(views), -1)) + positions
