"""The projector: two linear layers with a GELU between them, from the tower's width to the language model's."""

import torch
from torch import nn
from transformers import PreTrainedConfig
from vllm.model_executor.layers.activation import get_act_fn
from vllm.model_executor.layers.linear import ColumnParallelLinear, RowParallelLinear
from vllm.model_executor.layers.quantization import QuantizationConfig


class Projector(nn.Module):
    """linear_2(act(linear_1(x))): [..., tower width] to [..., language width], split over tensor parallel ranks."""

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

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.linear_1(features)
        projected, _ = self.linear_2(self.act(hidden))
        return projected
