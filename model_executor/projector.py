"""The projector: two linear layers with a GELU between them, from the tower's width to the language model's."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedConfig
from vllm.model_executor.layers.activation import get_act_fn
from vllm.model_executor.layers.linear import ColumnParallelLinear, RowParallelLinear
from vllm.model_executor.layers.quantization import QuantizationConfig

from llava_interleave_serve.kernels import index_plan, ops
from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling


class Projector(nn.Module):
    """linear_2(act(linear_1(x))), pooled by visual; split over tensor parallel ranks.

    Average and bilinear pooling stand between the activation and linear_2: their weights sum to one, so that
    pool(W x + b) = W pool(x) + b, for a quarter of the layer's work at stride 2. Max pooling stands behind it.
    """

    def __init__(self, config: PreTrainedConfig, quant_config: QuantizationConfig | None, prefix: str) -> None:
        super().__init__()
        bias = getattr(config, "multimodal_projector_bias", True)
        width = config.text_config.hidden_size
        self.linear_1 = ColumnParallelLinear(
            config.vision_config.hidden_size, width, bias=bias, quant_config=quant_config, prefix=f"{prefix}.linear_1"
        )
        self.act = get_act_fn(config.projector_hidden_act)
        self.linear_2 = RowParallelLinear(
            width, width, bias=bias, quant_config=quant_config, prefix=f"{prefix}.linear_2"
        )

    def forward(self, features: torch.Tensor, poolings: Sequence[Pooling]) -> list[torch.Tensor]:
        """Features [V, G*G, tower width], with a pooling each, to V tensors of rows [P*P, language width]."""
        late = [at for at, pooling in enumerate(poolings) if pooling.mode == "max"]
        if not late:
            return self._rows(features, poolings)
        early = [at for at in range(len(poolings)) if at not in set(late)]
        rows = dict(zip(late, self._rows(features[late], [poolings[at] for at in late]), strict=True))
        if early:
            rows |= zip(early, self._rows(features[early], [poolings[at] for at in early]), strict=True)
        return [rows[at] for at in range(len(poolings))]

    def _rows(self, features: torch.Tensor, poolings: Sequence[Pooling]) -> list[torch.Tensor]:
        """`forward` where max pooling stands everywhere or nowhere."""
        hidden, _ = self.linear_1(features)
        hidden = self.act(hidden)
        if poolings[0].mode == "max":
            projected, _ = self.linear_2(hidden)
            rows = _packed(projected, poolings)
        else:
            rows, _ = self.linear_2(_packed(hidden, poolings))
        grid = round(features.shape[1] ** 0.5)
        return list(rows.split([pooling.side(grid) ** 2 for pooling in poolings]))


def _packed(features: torch.Tensor, poolings: Sequence[Pooling]) -> torch.Tensor:
    """Features [V, G*G, C], pooled, as rows [R, C]; unpooled ones where they lie."""
    if all(pooling == UNPOOLED for pooling in poolings):
        return features.flatten(0, 1)
    grid = round(features.shape[1] ** 0.5)
    plan = index_plan.plan(grid, [(pooling.mode, pooling.stride) for pooling in poolings])
    return ops.pool_pack(features, plan.to(features.device, non_blocking=True))
