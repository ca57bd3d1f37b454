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
from llava_interleave_serve.model_executor import encoder_limits, processing, quantised_names, vllm_compat, weight_names
from llava_interleave_serve.model_executor.gpu.compiled_kernels import compile_kernels
from llava_interleave_serve.model_executor.gpu.encoder_graphs import EncoderGraphs
from llava_interleave_serve.model_executor.projector import Projector
from llava_interleave_serve.model_executor.vision_tower import VisionTower
from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling


@MULTIMODAL_REGISTRY.register_processor(
    processing.VisualProcessor, info=processing.VisualInfo, dummy_inputs=processing.VisualDummyInputs
)
class LlavaInterleaveForConditionalGeneration(
    nn.Module, EncoderGraphs, vllm_compat.SupportsMultiModal, vllm_compat.SupportsLoRA, vllm_compat.SupportsPP
):
    """Serves the hub's LlavaForConditionalGeneration checkpoints with a SigLIP tower and a Qwen2 language model.

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
        self.configure_mm_token_handling(config.text_config.vocab_size, [config.image_token_index])
        name = vllm_compat.maybe_prefix
        with self._mark_tower_model(vllm_config, {"image", "video"}):
            self.vision_tower = VisionTower(
                config, model_config.hf_image_processor_config, vllm_config.quant_config, name(prefix, "vision_tower")
            )
            self.multi_modal_projector = Projector(
                config, vllm_config.quant_config, name(prefix, "multi_modal_projector")
            )
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

        kwargs: for items of modality image, `views`, uint8 [n, 1, S, S, 3], and `poolings`, int64 [n, 2]; for items of
        modality video, `frames`, n tensors uint8 [f, S, S, 3].
        """
        if "views" in kwargs:
            poolings = [processing.decode_pooling(row) for row in kwargs["poolings"].tolist()]
            # vLLM caches each item's rows by itself: views of one tensor would each keep the whole tensor alive.
            return [rows.clone() for rows in self._encode(kwargs["views"], poolings)]
        if "frames" in kwargs:
            videos = list(kwargs["frames"])
            rows = self._encode(videos, [UNPOOLED] * sum(map(len, videos)))
            return [torch.cat([next(rows) for _ in video]) for video in videos]
        return []

    def _encode(
        self, views: torch.Tensor | Sequence[torch.Tensor], poolings: Sequence[Pooling]
    ) -> Iterator[torch.Tensor]:
        """The rows of each view, whose activations are in memory for PATCHES_A_CALL patches at a time.

        views: uint8 [n, k, S, S, 3], or n tensors [k, S, S, 3]. poolings: one for each of the views.
        """
        most = encoder_limits.visuals_a_step(checkpoint.grid(self.config) ** 2, encoder_limits.PATCHES_A_CALL)
        start = 0
        for batch in _even_batches(views, most):
            end = start + len(batch)
            yield from self.multi_modal_projector(self.vision_tower.encode(batch), poolings[start:end])
            start = end

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
        return self.language_model.compute_logits(hidden_states)

    def load_weights(self, files: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Loads the checkpoint; raises ValueError naming a weight that is missing or that the model does not have."""
        return weight_names.load(
            self,
            files,
            tower_layers=checkpoint.tower_depth(self.config),
            tied=self.config.text_config.tie_word_embeddings,
            quantised=self.quantised,
        )

    def get_mm_mapping(self) -> vllm_compat.MultiModelKeys:
        """Names of the language model, the connector and the tower; LoRA is applied to the language model."""
        return vllm_compat.MultiModelKeys.from_string_field(
            language_model="language_model", connector="multi_modal_projector", tower_model="vision_tower"
        )


def _even_batches(views: torch.Tensor | Sequence[torch.Tensor], most: int) -> Iterator[torch.Tensor]:
    """Batches [1 to most, S, S, 3] of the views in their order, of even size: a small one would be launch-bound.

    views: [n, k, S, S, 3], or n tensors [k, S, S, 3].
    """
    flat = views.flatten(0, 1) if isinstance(views, torch.Tensor) else [view for item in views for view in item]
    count = math.ceil(len(flat) / most)
    for index in range(count):
        batch = flat[index * len(flat) // count : (index + 1) * len(flat) // count]
        yield batch if isinstance(batch, torch.Tensor) else torch.stack(batch)
