"""Imports of vLLM's internals that the model needs, all in one place, since they may move between releases.

Read in vLLM 0.32 (`plugin.SUPPORTED_VLLM`).
"""

import functools

import torch
from torch import nn
from vllm.compilation.decorators import should_torch_compile_mm_encoder, support_torch_compile
from vllm.config.vllm import get_current_vllm_config_or_none
from vllm.model_executor.layers.linear import UnquantizedLinearMethod
from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod, VocabParallelEmbedding
from vllm.model_executor.models.interfaces import (
    MultiModalEmbeddings,
    SupportsEncoderCudaGraph,
    SupportsLoRA,
    SupportsMultiModal,
    SupportsPP,
)
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.siglip import SiglipVisionTransformer
from vllm.model_executor.models.utils import AutoWeightsLoader, WeightsMapper, init_vllm_registered_model, maybe_prefix
from vllm.model_executor.models.vision import is_vit_use_data_parallel, run_dp_sharded_vision_model
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems
from vllm.multimodal.parse import MultiModalDataItems, MultiModalDataParser, ProcessorBatchItems
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdate,
    PromptUpdateDetails,
)
from vllm.platforms import current_platform
from vllm.sequence import IntermediateTensors
from vllm.utils.torch_utils import async_tensor_h2d
from vllm.v1.core.encoder_cache_manager import EncoderCacheManager
from vllm.v1.request import RequestStatus
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor
from vllm.v1.worker.encoder_cudagraph_defs import (
    EncoderCudaGraphCaptureInputs,
    EncoderCudaGraphConfig,
    EncoderCudaGraphReplayBuffers,
    EncoderItemSpec,
)
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as SecondRunnerLogitsProcessor

__all__ = [
    "AdapterLogitsProcessor",
    "AutoWeightsLoader",
    "BaseDummyInputsBuilder",
    "BaseMultiModalProcessor",
    "BaseProcessingInfo",
    "EncoderCacheManager",
    "EncoderCudaGraphCaptureInputs",
    "EncoderCudaGraphConfig",
    "EncoderCudaGraphReplayBuffers",
    "EncoderItemSpec",
    "IntermediateTensors",
    "MultiModalDataItems",
    "MultiModalDataParser",
    "MultiModalEmbeddings",
    "MultiModalFieldConfig",
    "MultiModalKwargsItems",
    "MultiModelKeys",
    "ProcessorBatchItems",
    "PromptReplacement",
    "PromptUpdate",
    "PromptUpdateDetails",
    "RequestStatus",
    "SecondRunnerLogitsProcessor",
    "SiglipVisionTransformer",
    "SupportsEncoderCudaGraph",
    "SupportsLoRA",
    "SupportsMultiModal",
    "SupportsPP",
    "UnquantizedLinearMethod",
    "WeightsMapper",
    "async_tensor_h2d",
    "attention_head_sizes",
    "copy_gathered_rows",
    "current_platform",
    "has_bfloat16_vectors",
    "init_vllm_registered_model",
    "is_vit_use_data_parallel",
    "maybe_prefix",
    "plain_table",
    "run_dp_sharded_vision_model",
    "should_torch_compile_mm_encoder",
    "support_torch_compile",
]


def attention_head_sizes() -> list[int] | None:
    """The head sizes that the platform's attention has; None where vLLM itself refuses the others at load."""
    if not current_platform.is_cpu():
        return None
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend  # noqa: PLC0415 - exists on this platform only

    return list(CPUAttentionBackend.get_supported_head_sizes())


def plain_table(embedding: nn.Module) -> torch.Tensor | None:
    """The embedding's table [vocabulary, C]; None if it is sharded, quantised or wrapped by LoRA."""
    if type(embedding) is not VocabParallelEmbedding or embedding.tp_size > 1:
        return None
    return embedding.weight if type(embedding.quant_method) is UnquantizedEmbeddingMethod else None


def copy_gathered_rows() -> None:
    """Has vLLM's encoder graphs copy the rows that tensor parallel ranks exchange.

    vLLM 0.32 gives slices of all rows of a step, and each that the encoder cache keeps would keep all of them alive.
    """
    from vllm.v1.worker import encoder_cudagraph  # noqa: PLC0415 - for encoder graphs only

    scatter = encoder_cudagraph.scatter_output_slices
    if not isinstance(scatter, functools.partial):
        encoder_cudagraph.scatter_output_slices = functools.partial(scatter, clone=True)


def compiles_tower() -> bool:
    """True if the model that is being made is to have its tower's layers compiled."""
    config = get_current_vllm_config_or_none()
    return config is not None and bool(should_torch_compile_mm_encoder(config))


def has_bfloat16_vectors() -> bool:
    """True if the model runs on a CPU that multiplies bfloat16 with AVX-512, and not with tiles (AMX)."""
    has_tiles = torch.cpu._is_amx_tile_supported()
    return bool(current_platform.is_cpu() and torch.cpu._is_avx512_bf16_supported() and not has_tiles)
