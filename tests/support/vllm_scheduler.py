"""vLLM's own scheduler over `VisualCache`, without an engine or a model."""

import functools
from typing import Any

import pytest
import torch
from vllm.config import EncoderCacheManagerConfig, VllmConfig
from vllm.engine.arg_utils import EngineArgs
from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange
from vllm.sampling_params import SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

from llava_interleave_serve.model_executor import plugin
from llava_interleave_serve.server.engine.defaults import ARCHITECTURE, ENCODER_CACHE
from tests.support import checkpoints
from tests.support.fakes import platform

PATCHES, BLOCK = 729, 16


def demo_config(**options: Any) -> VllmConfig:
    """vLLM's configuration of the demo with our encoder cache."""
    plugin.register()
    return EngineArgs(
        model=str(checkpoints.DEMO),
        hf_overrides={"architectures": [ARCHITECTURE]},
        ec_manager_config=EncoderCacheManagerConfig(encoder_cache_manager_cls=ENCODER_CACHE),
        limit_mm_per_prompt={"image": 256, "video": 0},
        enable_prefix_caching=False,
        skip_mm_profiling=True,
        **options,
    ).create_engine_config(UsageContext.OPENAI_API_SERVER)


@functools.cache
def published_config() -> VllmConfig:
    """vLLM's configuration of the demo with a tower of the published sizes and their context."""
    init_none_hash(sha256)
    config = demo_config()
    config.model_config.hf_config.vision_config.image_size = 384
    config.model_config.hf_config.vision_config.patch_size = 14
    config.model_config.max_model_len = 32_768
    return config


def scheduler(
    tokens_a_step: int, blocks: int, monkeypatch: pytest.MonkeyPatch, *, prefix_caching: bool = False
) -> Scheduler:
    """The scheduler of a step of so many tokens, with so many KV blocks of BLOCK tokens, as on a GPU."""
    config = published_config()
    platform.take_for_a_gpu(monkeypatch)
    for name in ("max_num_batched_tokens", "max_num_encoder_input_tokens", "encoder_cache_size"):
        monkeypatch.setattr(config.scheduler_config, name, tokens_a_step)
    monkeypatch.setattr(config.cache_config, "num_gpu_blocks", blocks)
    monkeypatch.setattr(config.cache_config, "enable_prefix_caching", prefix_caching)
    spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32)
    kv_blocks = KVCacheConfig(blocks, [], [KVCacheGroupSpec(["layer"], spec)])
    return Scheduler(config, kv_blocks, StructuredOutputManager(config), block_size=BLOCK)


def request(name: str, rows: list[int], text_before: int = 0) -> Request:
    """A request of visuals with these numbers of rows, a token of text after each, and tokens of text before all."""
    features, offset = [], text_before
    for index, length in enumerate(rows):
        place = PlaceholderRange(offset=offset, length=length)
        features.append(MultiModalFeatureSpec(None, "image", f"{name} {index}", place))
        offset += length + 1
    sampling = SamplingParams(max_tokens=4, ignore_eos=True)
    hashes = get_request_block_hasher(BLOCK, sha256)
    return Request(name, [0] * offset, sampling, None, mm_features=features, block_hasher=hashes)


def run_step(serving: Scheduler) -> SchedulerOutput:
    """Schedules a step and gives the scheduler a token for each request whose prompt has been computed."""
    step = serving.schedule()
    assert step.total_num_scheduled_tokens > 0, "the scheduler is stuck"
    names = list(step.num_scheduled_tokens)
    sampled = [[1] if serving.requests[name].num_computed_tokens >= serving.requests[name].num_tokens else []
               for name in names]  # fmt: skip
    index = {name: position for position, name in enumerate(names)}
    serving.update_from_output(step, ModelRunnerOutput(names, index, sampled_token_ids=sampled))
    return step


def visuals_by_step(serving: Scheduler) -> list[int]:
    """Runs all requests to their ends; the number of visuals encoded in each step."""
    numbers = []
    while serving.has_unfinished_requests():
        numbers.append(sum(map(len, run_step(serving).scheduled_encoder_inputs.values())))
    return numbers
