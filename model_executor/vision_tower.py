"""Vision tower: SigLIP up to the layer whose output the projector reads, on uint8 views."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedConfig
from vllm.model_executor.layers.quantization import QuantizationConfig

from llava_interleave_serve.kernels import index_plan, ops
from llava_interleave_serve.model_executor import vllm_compat
from llava_interleave_serve.model_executor.config import tower_depth
from llava_interleave_serve.model_executor.cpu import tower as cpu_tower
from llava_interleave_serve.model_executor.gpu.compiled_layers import TowerLayer


class VisionTower(nn.Module):
    """Encodes uint8 views [n, S, S, 3] as features [n, G*G, C], in the tower's dtype.

    The features are the hidden states of the checkpoint's feature layer, *before* post_layernorm. Views are normalised
    on the device: (view / 255 - mean) / std in float32, with the checkpoint's preprocessor_config.json.
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
        self.vision_model.embeddings.patch_embedding = PatchEmbedding(config.vision_config)
        layers = self.vision_model.encoder.layers
        # On CPUs with tiles (AMX) torch's own attention is faster, on GPUs vLLM's layers are. Torch's compiler takes
        # neither of these two.
        if vllm_compat.has_bfloat16_vectors() and not vllm_compat.compiles_tower():
            for layer in layers:
                cpu_tower.replace_attention(layer)
                cpu_tower.fuse_gelu(layer, config.vision_config.hidden_act)
        for index, layer in enumerate(layers):
            layers[index] = TowerLayer(layer)
        half = [0.5, 0.5, 0.5]
        mean = torch.tensor(image_processor.get("image_mean") or half, dtype=torch.float32)
        std = torch.tensor(image_processor.get("image_std") or half, dtype=torch.float32)
        # Buffers, which vLLM keeps over a sleep that discards the weights; in no checkpoint, and never cast by vLLM.
        self._shares_views = vllm_compat.is_vit_use_data_parallel()
        self.register_buffer("_scale", 1.0 / (255.0 * std), persistent=False)
        self.register_buffer("_shift", -mean / std, persistent=False)

    def encode(self, views: torch.Tensor) -> torch.Tensor:
        """`forward`; with `--mm-encoder-tp-mode data` each tensor parallel rank encodes a share of the views."""
        if self._shares_views:
            return vllm_compat.run_dp_sharded_vision_model(views, self)
        features: torch.Tensor = self(views)
        return features

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """uint8 [n, S, S, 3], RGB, to [n, G*G, C] in the tower's dtype."""
        tower = self.vision_model
        hidden = self._embed(views, tower.embeddings.patch_embedding, tower.embeddings.position_embedding.weight)
        return tower.encoder(inputs_embeds=hidden, return_all_hidden_states=False)

    def _embed(self, views: torch.Tensor, patch: "PatchEmbedding", positions: torch.Tensor) -> torch.Tensor:
        """Embeds patches by one matrix product on patch rows, and adds the position embedding: [n, G*G, C]."""
        rows = ops.patchify(views, self._scale, self._shift, patch.side, patch.weight.dtype)
        return patch(rows).unflatten(0, (len(views), -1)) + positions


class PatchEmbedding(nn.Module):
    """Patch embedding as a matrix product: patch rows [R, K] of `ops.patchify` to [R, C].

    The checkpoint's weight [C, 3, P, P] is laid out as [C, K] when it is loaded, and zero where the rows are padded.
    """

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__()
        self.side = config.patch_size
        width = config.hidden_size
        self.weight = nn.Parameter(torch.zeros(width, index_plan.patch_columns(self.side)), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(width), requires_grad=False)
        self.weight.weight_loader = _lay_out
        self.weight.weight_loader_numel = width * self.side**2 * 3  # by which vLLM knows that all of it has been loaded

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return functional.linear(rows, self.weight, self.bias)


def _lay_out(param: torch.Tensor, loaded_weight: torch.Tensor) -> None:
    """Copies a convolution's weight [C, 3, P, P] into a parameter [C, K]; vLLM calls it while loading.

    Raises ValueError for a weight of another shape.
    """
    side = math.isqrt(param.weight_loader_numel // (3 * len(param)))
    if loaded_weight.shape != (len(param), 3, side, side):
        raise ValueError(
            f"the patch embedding's weight is {list(loaded_weight.shape)}, not {[len(param), 3, side, side]}"
        )
    param.data.zero_()
    param.data[:, : 3 * side**2].copy_(loaded_weight.permute(0, 2, 3, 1).flatten(1))
