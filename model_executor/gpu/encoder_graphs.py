"""CUDA graphs of the vision tower, by vLLM's `SupportsEncoderCudaGraph`.

Below about five visuals a call of the tower takes as long as its launches (26 layers, 8 ms of the host), and not as its
work (1 ms a visual on an H100). A graph is one launch. Views have one size, so that vLLM captures a graph for 1, 2, 4,
... of them. Projector and pooling, which differ from mix to mix, come after the graph.
"""

from collections.abc import Hashable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig

from llava_interleave_serve.model_executor import encoder_limits, packing, vllm_compat
from llava_interleave_serve.model_executor.config import grid


class EncoderGraphs(vllm_compat.SupportsEncoderCudaGraph):
    """The methods by which vLLM's EncoderCudaGraphManager runs the vision tower of a model.

    A batch is sized by patches, as if no visual were pooled: that is the tower's work and memory.
    """

    config: PreTrainedConfig
    image_newline: torch.Tensor | None
    vision_tower: nn.Module
    multi_modal_projector: nn.Module

    def get_encoder_cudagraph_config(self) -> Any:
        vllm_compat.copy_gathered_rows()  # of the manager that asks
        return vllm_compat.EncoderCudaGraphConfig(
            modalities=["image"], buffer_keys=["views"], out_hidden_size=self.config.text_config.hidden_size
        )

    def get_encoder_cudagraph_budget_range(self, vllm_config: Any) -> tuple[int, int]:
        """Patches of the smallest graph, of one view, and of the largest: as many as a call and a step may have."""
        patches = grid(self.config) ** 2
        most = min(encoder_limits.PATCHES_A_CALL, vllm_config.scheduler_config.max_num_batched_tokens)
        return patches, encoder_limits.visuals_a_step(patches, most) * patches

    def get_encoder_cudagraph_item_specs(self, mm_kwargs: dict[str, Any]) -> list[Any]:
        side = grid(self.config)
        packings = [packing.decode(row).packing for row in mm_kwargs["packings"].tolist()]
        return [
            vllm_compat.EncoderItemSpec(
                input_size=each.views * side**2,
                output_tokens=each.rows(side),
                path_output_tokens={"default": each.views * side**2},
            )
            for each in packings
        ]

    def select_encoder_cudagraph_items(self, mm_kwargs: dict[str, Any], indices: list[int]) -> dict[str, Any]:
        # Slices, and no list of indices: that would be copied to the device, and the device waited for.
        views = mm_kwargs["views"]
        if isinstance(views, torch.Tensor):
            chosen = torch.cat([views[index : index + 1] for index in indices]) if indices else views[:0]
        else:
            chosen = [views[index] for index in indices] or views[0][:0][None]
        return {"views": chosen, "packings": mm_kwargs["packings"][indices]}

    def prepare_encoder_cudagraph_capture_inputs(
        self,
        token_budget: int,
        max_batch_size: int,
        max_frames_per_batch: int,
        device: torch.device,
        dtype: torch.dtype,
        path: str = "default",
        axis_keys: tuple[Hashable, ...] | None = None,
    ) -> Any:
        side = self.config.vision_config.image_size
        count = min(token_budget // grid(self.config) ** 2, max_batch_size)
        views = torch.zeros(count, side, side, 3, dtype=torch.uint8, device=device)
        return vllm_compat.EncoderCudaGraphCaptureInputs({"views": views})

    def prepare_encoder_cudagraph_replay_buffers(
        self, mm_kwargs: dict[str, Any], max_batch_size: int, max_frames_per_batch: int, path: str = "default"
    ) -> Any:
        return vllm_compat.EncoderCudaGraphReplayBuffers({"views": _flat(mm_kwargs["views"])})

    def encoder_cudagraph_forward(self, inputs: dict[str, torch.Tensor], path: str = "default") -> torch.Tensor:
        features: torch.Tensor = self.vision_tower(inputs["views"])
        return features

    def encoder_eager_forward(self, mm_kwargs: dict[str, Any], path: str = "default") -> torch.Tensor:
        """The features of a picture of more views than the largest graph has; as many at a time as a call may have."""
        most = encoder_limits.visuals_a_step(grid(self.config) ** 2, encoder_limits.PATCHES_A_CALL)
        return torch.cat([self.vision_tower(batch) for batch in _flat(mm_kwargs["views"]).split(most)])

    def postprocess_encoder_output(
        self,
        outputs: dict[str, torch.Tensor],
        indices: list[int],
        per_item_out_tokens: list[int],
        dest: Any,
        clone: bool = False,
        batch_mm_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Projects and pools the tower's features, behind which a graph has those of padding."""
        assert batch_mm_kwargs is not None  # noqa: S101 - vLLM gives it
        packings = [packing.decode(row) for row in batch_mm_kwargs["packings"].tolist()]
        count = sum(each.packing.views for each in packings)
        rows = self.multi_modal_projector(outputs["default"][:count], packings, self.image_newline)
        for index, each in zip(indices, rows, strict=True):
            dest[index] = each.clone()  # each is cached by itself


def _flat(views: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    """Views [n, k, S, S, 3], or n tensors [k, S, S, 3], one after the other: [views, S, S, 3]."""
    return views.flatten(0, 1) if isinstance(views, torch.Tensor) else torch.cat(list(views))
