"""Projector: two linear layers with an activation between them, from the tower's width to the language model's."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedConfig
from vllm.model_executor.layers.activation import get_act_fn
from vllm.model_executor.layers.linear import ColumnParallelLinear, RowParallelLinear
from vllm.model_executor.layers.quantization import QuantizationConfig

from llava_interleave_serve.kernels import index_plan, ops
from llava_interleave_serve.model_executor import vllm_compat
from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling


class Projector(nn.Module):
    """linear_2(act(linear_1(x))), each visual pooled its own way.

    Split over tensor parallel ranks, but with `--mm-encoder-tp-mode data`: then each rank has it whole, as the tower.

    Average and bilinear pooling come before linear_2: their weights sum to one, so pool(W x + b) = W pool(x) + b, and
    at stride 2 linear_2 has a quarter of the work. Max pooling is not linear and comes after it.
    """

    def __init__(self, config: PreTrainedConfig, quant_config: QuantizationConfig | None, prefix: str) -> None:
        super().__init__()
        bias = getattr(config, "multimodal_projector_bias", True)
        width = config.text_config.hidden_size
        options = {"bias": bias, "quant_config": quant_config, "disable_tp": vllm_compat.is_vit_use_data_parallel()}
        self.linear_1 = ColumnParallelLinear(
            config.vision_config.hidden_size, width, prefix=f"{prefix}.linear_1", **options
        )
        self.act = get_act_fn(config.projector_hidden_act)
        self.linear_2 = RowParallelLinear(width, width, prefix=f"{prefix}.linear_2", **options)

    def forward(self, features: torch.Tensor, poolings: Sequence[Pooling]) -> list[torch.Tensor]:
        """Features [V, G*G, tower width] to V tensors of rows [P*P, language width], P the side of the pooled grid.

        poolings: one for each visual.
        """
        groups: dict[bool, list[int]] = {}
        for index, pooling in enumerate(poolings):
            groups.setdefault(pooling.mode == "max", []).append(index)
        rows: dict[int, torch.Tensor] = {}
        for group in groups.values():
            # Slices, and no list of indices: that would be copied to the device, and the device waited for.
            part = features if len(groups) == 1 else torch.cat([features[index : index + 1] for index in group])
            rows |= zip(group, self._rows(part, [poolings[index] for index in group]), strict=True)
        return [rows[index] for index in range(len(poolings))]

    def _rows(self, features: torch.Tensor, poolings: Sequence[Pooling]) -> list[torch.Tensor]:
        """`forward` for visuals that are all max-pooled, or none of them."""
        hidden, _ = self.linear_1(features)
        hidden = self.act(hidden)
        if poolings[0].mode == "max":
            projected, _ = self.linear_2(hidden)
            rows = _pool_packed(projected, poolings)
        else:
            rows, _ = self.linear_2(_pool_packed(hidden, poolings))
        grid = round(features.shape[1] ** 0.5)
        return list(rows.split([pooling.side(grid) ** 2 for pooling in poolings]))


def _pool_packed(features: torch.Tensor, poolings: Sequence[Pooling]) -> torch.Tensor:
    """Pools features [V, G*G, C] to packed rows [R, C]; without any pooling the rows are a view of the features."""
    if all(pooling == UNPOOLED for pooling in poolings):
        return features.flatten(0, 1)
    grid = round(features.shape[1] ** 0.5)
    plan = index_plan.build(grid, [(pooling.mode, pooling.stride) for pooling in poolings])
    return ops.pool_pack(features, vllm_compat.async_tensor_h2d(plan, features.device))
