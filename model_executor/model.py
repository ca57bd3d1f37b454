"""LLaVA-NeXT-Interleave for vLLM: vision tower, projector with a pooling for each visual, and Qwen2.

vLLM caches a model class's flags under the hash of the file that it is named in (`plugin.ARCHITECTURES`), which is this
one: so every `Supports*` base must be listed here.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.multimodal import MULTIMODAL_REGISTRY

from llava_interleave_serve.kernels import index_plan, ops
from llava_interleave_serve.model_executor import config as checkpoint
from llava_interleave_serve.model_executor import (
    encoder_limits,
    packing,
    processing,
    quantised_names,
    vllm_compat,
    weight_names,
)
from llava_interleave_serve.model_executor.gpu.compiled_kernels import compile_kernels
from llava_interleave_serve.model_executor.gpu.encoder_graphs import EncoderGraphs
from llava_interleave_serve.model_executor.packing import VisualPacking
from llava_interleave_serve.model_executor.projector import Projector
from llava_interleave_serve.model_executor.vision_tower import VisionTower


@MULTIMODAL_REGISTRY.register_processor(
    processing.VisualProcessor, info=processing.VisualInfo, dummy_inputs=processing.VisualDummyInputs
)
class LlavaInterleaveForConditionalGeneration(
    nn.Module, EncoderGraphs, vllm_compat.SupportsMultiModal, vllm_compat.SupportsLoRA, vllm_compat.SupportsPP
):
    """Serves the hub's LlavaForConditionalGeneration checkpoints with a SigLIP tower and a Qwen2 language model.

    Serves the authors' own checkpoints (LlavaQwenForCausalLM) too, by a configuration of their own (`original.config`).

    Raises ValueError for a configuration that it cannot serve (`config.check`).
    """

    packed_modules_mapping = {
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    }
    hf_to_vllm_mapper = weight_names.MAPPER
    supports_encoder_tp_data = True

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """The placeholder text that plain vLLM's chat route writes for a visual."""
        return {"image": "<image>", "video": processing.VIDEO_PLACEHOLDER}[modality]

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        model_config = vllm_config.model_config
        self.config = config = model_config.hf_config
        self.quantised = vllm_config.quant_config is not None
        quantised_names.rename(vllm_config.quant_config)
        checkpoint.check(config, vllm_compat.attention_head_sizes())
        weight_names.choose_files(vllm_config.load_config, config)
        self.configure_mm_token_handling(config.text_config.vocab_size, [config.image_token_index])
        name = vllm_compat.maybe_prefix
        with self._mark_tower_model(vllm_config, {"image", "video"}):
            self.vision_tower = VisionTower(
                config, model_config.hf_image_processor_config, vllm_config.quant_config, name(prefix, "vision_tower")
            )
            self.multi_modal_projector = Projector(
                config, vllm_config.quant_config, name(prefix, "multi_modal_projector")
            )
        self.image_newline: nn.Parameter | None = None
        if checkpoint.visual_format(config).has_newline:
            self.image_newline = nn.Parameter(torch.empty(config.text_config.hidden_size), requires_grad=False)
        with self._mark_language_model(vllm_config):
            self.language_model = vllm_compat.init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=config.text_config,
                prefix=name(prefix, "language_model"),
                architectures=["Qwen2ForCausalLM"],
            )
        if not vllm_compat.current_platform.is_cpu():
            compile_kernels(config, vllm_config.parallel_config.tensor_parallel_size)
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    def embed_multimodal(self, **kwargs: Any) -> vllm_compat.MultiModalEmbeddings:
        """Encodes multimodal items as rows of the prefill: n tensors [tokens, C].

        kwargs: for items of modality image, `views`, uint8 [n, k, S, S, 3] or n tensors [k, S, S, 3], and `packings`,
        int64 [n, p]; for items of modality video, `frames`, n tensors uint8 [f, S, S, 3], and `frame_packings`, n
        tensors int64 [f, p].
        """
        if "views" in kwargs:
            packings = [packing.decode(row) for row in kwargs["packings"].tolist()]
            # vLLM caches each item's rows by itself: views of one tensor would each keep the whole tensor alive.
            return [rows.clone() for rows in self._encode(kwargs["views"], packings)]
        if "frames" in kwargs:
            videos = list(kwargs["frames"])
            packings = [packing.decode(row) for rows in kwargs["frame_packings"] for row in rows.tolist()]
            rows = self._encode(videos, packings)
            return [torch.cat([next(rows) for _ in video]) for video in videos]
        return []

    def _encode(
        self, views: torch.Tensor | Sequence[torch.Tensor], packings: Sequence[VisualPacking]
    ) -> Iterator[torch.Tensor]:
        """The rows of each visual; PATCHES_A_CALL patches at a time go through the tower, whole visuals then on.

        views: uint8 [n, k, S, S, 3], or n tensors [k, S, S, 3]. packings: one for each visual.
        """
        most = encoder_limits.visuals_a_step(checkpoint.grid(self.config) ** 2, encoder_limits.PATCHES_A_CALL)
        waiting = list(packings)
        features: list[torch.Tensor] = []  # of views whose visual is not complete
        for batch in _even_batches(views, most):
            features.append(self.vision_tower.encode(batch))
            number, complete = _complete(waiting, sum(map(len, features)))
            if complete:
                del waiting[: len(complete)]
                yield from self._project(features, number, complete)

    def _project(
        self, features: list[torch.Tensor], number: int, packings: Sequence[VisualPacking]
    ) -> list[torch.Tensor]:
        """The rows of the visuals that the first views make; takes these views' features out of the list."""
        together = features[0] if len(features) == 1 else torch.cat(features)
        features[:] = [together[number:].clone()] if number < len(together) else []
        rows: list[torch.Tensor] = self.multi_modal_projector(together[:number], packings, self.image_newline)
        return rows

    def embed_input_ids(
        self,
        input_ids: torch.Tensor,
        multimodal_embeddings: vllm_compat.MultiModalEmbeddings | None = None,
        *,
        is_multimodal: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Builds the prefill's input embeddings [T, C] from text and visual rows, in one pass.

        input_ids: int [T]. multimodal_embeddings: tensors of rows [tokens, C]. is_multimodal: bool [T], on the CPU.

        Tables that are sharded, quantised or wrapped by LoRA go through vLLM's own method, which embeds the
        placeholders too and then overwrites them.

        Raises ValueError if there are more or fewer rows than placeholders.
        """
        table = vllm_compat.plain_table(self.language_model.model.embed_tokens)
        if table is None or is_multimodal is None or not multimodal_embeddings:
            return super().embed_input_ids(input_ids, multimodal_embeddings, is_multimodal=is_multimodal)
        items = list(multimodal_embeddings)
        rows = items[0] if len(items) == 1 else torch.cat(items)
        row_index = index_plan.visual_row_indices(is_multimodal)
        if row_index.device.type == "cpu" and (placeholders := int(row_index.max()) + 1) != len(rows):
            raise ValueError(f"{len(rows)} visual rows came for {placeholders} placeholders")
        if row_index.device != input_ids.device:
            row_index = vllm_compat.async_tensor_h2d(row_index, input_ids.device)
        return ops.merge_prefill(input_ids, table, rows.to(table.dtype), row_index)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: vllm_compat.IntermediateTensors | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: object,
    ) -> torch.Tensor | vllm_compat.IntermediateTensors:
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model.model(input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        logits: torch.Tensor | None = self.language_model.compute_logits(hidden_states)
        if logits is not None and not checkpoint.is_generated(self.config):
            logits[..., self.config.image_token_index] = -torch.inf  # a row that the checkpoint does not have
        return logits

    def load_weights(self, files: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Loads the checkpoint; raises ValueError naming a weight that is missing or that the model does not have."""
        return weight_names.load(
            self,
            files,
            config=self.config,
            tower_layers=checkpoint.tower_depth(self.config),
            tied=self.config.text_config.tie_word_embeddings,
            quantised=self.quantised,
        )

    def get_mm_mapping(self) -> vllm_compat.MultiModelKeys:
        """Names of the language model, the connector and the tower; LoRA is applied to the language model."""
        return vllm_compat.MultiModelKeys.from_string_field(
            language_model="language_model", connector="multi_modal_projector", tower_model="vision_tower"
        )


def _complete(packings: Sequence[VisualPacking], count: int) -> tuple[int, list[VisualPacking]]:
    """The number of views, and the packings, of the visuals of which the first `count` views have all."""
    number = 0
    for index, each in enumerate(packings):
        if number + each.packing.views > count:
            return number, list(packings[:index])
        number += each.packing.views
    return number, list(packings)


def _even_batches(views: torch.Tensor | Sequence[torch.Tensor], most: int) -> Iterator[torch.Tensor]:
    """Batches [1 to most, S, S, 3] of the views in their order, of even size: a small one would be launch-bound.

    views: [n, k, S, S, 3], or n tensors [k, S, S, 3].
    """
    flat = views.flatten(0, 1) if isinstance(views, torch.Tensor) else [view for item in views for view in item]
    count = math.ceil(len(flat) / most)
    for index in range(count):
        batch = flat[index * len(flat) // count : (index + 1) * len(flat) // count]
        yield batch if isinstance(batch, torch.Tensor) else torch.stack(batch)
