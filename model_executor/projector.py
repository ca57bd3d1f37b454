"""Projector: two linear layers with an activation between them, from the tower's width to the language model's."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedConfig
from vllm.model_executor.layers.activation import get_act_fn
from vllm.model_executor.layers.linear import ColumnParallelLinear, RowParallelLinear
from vllm.model_executor.layers.quantization import QuantizationConfig

from llava_interleave_serve.kernels import index_plan, ops
from llava_interleave_serve.kernels.index_plan import Packing
from llava_interleave_serve.model_executor import vllm_compat
from llava_interleave_serve.model_executor.packing import VisualPacking

BEFORE, WITHIN, AFTER = "before linear_1", "before linear_2", "after linear_2"


class Projector(nn.Module):
    """linear_2(act(linear_1(x))), each visual packed its own way.

    Split over tensor parallel ranks, but with `--mm-encoder-tp-mode data`: then each rank has it whole, as the tower.

    Average and bilinear pooling come before linear_2: their weights sum to one, so pool(W x + b) = W pool(x) + b, and
    at stride 2 linear_2 has a quarter of the work. So does the cut of tiles; their newlines are written after linear_2.
    Max pooling is not linear and comes after it. Some checkpoints pool before linear_1.
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

    def forward(
        self, features: torch.Tensor, packings: Sequence[VisualPacking], newline: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """Features [V, G*G, tower width] to a tensor of rows [R, language width] for each visual.

        packings: one for each visual, whose views are neighbours. newline: [language width], of the checkpoint's.
        """
        groups: dict[str, list[int]] = {}
        for index, packing in enumerate(packings):
            groups.setdefault(_stage(packing), []).append(index)
        if len(groups) == 1:
            return self._rows(next(iter(groups)), features, [each.packing for each in packings], newline)
        views = features.split([each.packing.views for each in packings])
        rows: dict[int, torch.Tensor] = {}
        for stage, group in groups.items():
            # Slices, and no list of indices: that would be copied to the device, and the device waited for.
            members = torch.cat([views[index] for index in group])
            packed = self._rows(stage, members, [packings[index].packing for index in group], newline)
            rows |= zip(group, packed, strict=True)
        return [rows[index] for index in range(len(packings))]

    def _rows(
        self, stage: str, features: torch.Tensor, packings: Sequence[Packing], newline: torch.Tensor | None
    ) -> list[torch.Tensor]:
        """`forward` for visuals that are all pooled at one stage of the projector."""
        grid = round(features.shape[1] ** 0.5)
        plan = None
        if any(packing != index_plan.UNPOOLED for packing in packings):
            plan = index_plan.build(grid, packings)
        on_device = None if plan is None else vllm_compat.async_tensor_h2d(plan, features.device)
        if stage == BEFORE:
            features = _packed(features, on_device)  # its newlines are zeros until the end
        hidden, _ = self.linear_1(features)
        hidden = self.act(hidden)
        if stage == WITHIN:
            hidden = _packed(hidden, on_device)
        rows, _ = self.linear_2(hidden)
        if stage == AFTER:
            rows = _packed(rows, on_device, newline)
        elif plan is not None and newline is not None:
            rows[vllm_compat.async_tensor_h2d(index_plan.newline_rows(plan), rows.device)] = newline.to(rows.dtype)
        return list(rows.split([packing.rows(grid) for packing in packings]))


def _stage(packing: VisualPacking) -> str:
    """Where in the projector a visual is packed."""
    if packing.before_projector:
        return BEFORE
    return AFTER if packing.packing.mode == "max" else WITHIN


def _packed(features: torch.Tensor, plan: torch.Tensor | None, newline: torch.Tensor | None = None) -> torch.Tensor:
    """Packs features [V, G*G, C] to rows [R, C]; without a plan the rows are a view of the features."""
    if plan is None:
        return features.flatten(0, 1)
    return ops.pool_pack(features, plan, None if newline is None else newline.to(features.dtype))
