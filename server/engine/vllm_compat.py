"""Imports of vLLM's internals that the server needs: a change between releases of vLLM is a change here.

Read in vLLM 0.32 (`model_executor.plugin.SUPPORTED_VLLM`).
"""

import math

import psutil
import torch
from vllm import envs
from vllm.config import EncoderCacheManagerConfig, StructuredOutputsConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.generate.base.protocol import DeltaFunctionCall, DeltaMessage, DeltaToolCall, FunctionCall
from vllm.entrypoints.openai.chat_completion.protocol import (
    ChatCompletionLogProbs,
    ChatCompletionRequest,
    ChatCompletionResponse,
)
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.entrypoints.openai.models.protocol import BaseModelPath, LoRAModulePath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
from vllm.entrypoints.serve.utils.api_utils import get_max_tokens
from vllm.exceptions import GenerationError, GracefulHTTPError, VLLMValidationError
from vllm.parser.abstract_parser import Parser
from vllm.platforms import current_platform
from vllm.plugins import load_general_plugins
from vllm.renderers.chat_utils import make_tool_call_id
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.tool_parsers.abstract_tool_parser import ToolParser
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.utils.cpu_resource_utils import get_allowed_cpu_list, get_memory_node_info
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.executor.multiproc_executor import MultiprocExecutor

__all__ = [
    "AsyncEngineArgs",
    "AsyncLLM",
    "BaseModelPath",
    "ChatCompletionLogProbs",
    "ChatCompletionRequest",
    "ChatCompletionResponse",
    "CompletionRequest",
    "DeltaFunctionCall",
    "DeltaMessage",
    "DeltaToolCall",
    "EncoderCacheManagerConfig",
    "EngineDeadError",
    "ErrorResponse",
    "FlexibleArgumentParser",
    "FunctionCall",
    "GenerationError",
    "GracefulHTTPError",
    "LoRAModulePath",
    "MultiprocExecutor",
    "OnlineRenderer",
    "OpenAIServingChat",
    "OpenAIServingCompletion",
    "OpenAIServingModels",
    "Parser",
    "SamplingParams",
    "StructuredOutputsParams",
    "ToolParser",
    "UsageContext",
    "VLLMValidationError",
    "compact_json",
    "create_error_response",
    "cuda_versions",
    "current_platform",
    "device_bytes",
    "free_bytes",
    "get_max_tokens",
    "has_bfloat16",
    "load_general_plugins",
    "make_tool_call_id",
    "most_bad_word_tokens",
]


def has_bfloat16() -> bool:
    """True if this CPU multiplies bfloat16 matrices in hardware; in software that is a hundred times slower."""
    supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return supported


def device_bytes() -> int | None:
    """Memory of a GPU; None on a CPU."""
    return None if current_platform.is_cpu() else int(current_platform.get_device_total_memory())


def cuda_versions() -> tuple[int, int] | None:
    """The major versions of CUDA that torch was built for and that the driver can; None without CUDA or a driver."""
    built, driver = torch.version.cuda, getattr(torch._C, "_cuda_getDriverVersion", int)()
    return (int(built.split(".")[0]), driver // 1000) if built and driver else None


def free_bytes(workers: int) -> int:
    """Memory that is free on a CPU for each of the workers, a container's limit and its NUMA nodes counted.

    vLLM spreads its workers over the nodes, and refuses to start by what it reads of a worker's own.
    """
    nodes = {cpu.numa_node for cpu in get_allowed_cpu_list()}
    of_a_node: int = min(get_memory_node_info(node).available_memory for node in nodes) // math.ceil(
        workers / len(nodes)
    )
    of_the_machine: int = psutil.virtual_memory().available // workers
    return min(of_a_node, of_the_machine)


def most_bad_word_tokens() -> int:
    """The tokens that all `bad_words` of a request may have together; vLLM's second model runner dies of more."""
    most: int = envs.VLLM_MAX_BAD_WORDS_TOTAL_TOKENS
    return most


def compact_json() -> StructuredOutputsConfig:
    """Structured outputs without white space of the model's choice; the backend must be one that can."""
    return StructuredOutputsConfig(backend="xgrammar", disable_any_whitespace=True)
