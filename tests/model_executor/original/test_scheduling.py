"""vLLM's own scheduler cuts pictures of several views over steps, and finds prefixes that end within them."""

import functools
from typing import Any

import pytest
import torch
from PIL import Image
from vllm.config import EncoderCacheManagerConfig, VllmConfig
from vllm.engine.arg_utils import EngineArgs
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalFeatureSpec
from vllm.sampling_params import SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

from llava_interleave_serve.model_executor import plugin
from llava_interleave_serve.server.engine.defaults import ENCODER_CACHE
from tests.support import vllm_scheduler
from tests.support.original import cases

BLOCK, TOKENS = 16, 64  # of a KV block, and of a step: less than most pictures have
VIEWS = 5  # of a step
NEW_TOKENS = 4
SQUARE, LAND, TINY = "square.png", "land.png", "tiny.png"  # of 5, 5 and 3 views
ROWS = {SQUARE: 135, LAND: 113, TINY: 49}


@functools.cache
def config() -> VllmConfig:
    plugin.register()
    init_none_hash(sha256)
    manager = EncoderCacheManagerConfig(
        encoder_cache_manager_cls=ENCODER_CACHE, manager_config={"visuals_kept": 1, "visuals_a_step": VIEWS}
    )
    return EngineArgs(
        model=str(cases.FOLDER / "checkpoint-anyres"),
        ec_manager_config=manager,
        max_model_len=2048,
        max_num_batched_tokens=TOKENS,
        max_num_seqs=8,
        limit_mm_per_prompt={"image": 8, "video": 0},
        skip_mm_profiling=True,
    ).create_engine_config(UsageContext.OPENAI_API_SERVER)


@pytest.fixture
def scheduler() -> Scheduler:
    spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32)
    config().cache_config.num_gpu_blocks = 1000
    kv_blocks = KVCacheConfig(1000, [], [KVCacheGroupSpec(["layer"], spec)])
    return Scheduler(config(), kv_blocks, StructuredOutputManager(config()), block_size=BLOCK)


@functools.cache
def processor() -> Any:
    return MULTIMODAL_REGISTRY.create_processor(config().model_config)


def request(name: str, *pictures: str) -> Request:
    """A request of these pictures, with the items that vLLM's processor makes of them."""
    making = processor()
    text = "".join(f"<image>\nHere is {name}." for _ in pictures) if pictures else f"Only {name}."
    items = making.info.parse_mm_data({"image": [Image.open(cases.FOLDER / picture) for picture in pictures]})
    inputs = making(making.info.get_tokenizer().encode(text), items)
    features = [
        MultiModalFeatureSpec(item, "image", digest, place)
        for item, digest, place in zip(
            inputs["mm_kwargs"].get("image", []),
            inputs["mm_hashes"].get("image", []),
            inputs["mm_placeholders"].get("image", []),
            strict=True,
        )
    ]
    return Request(
        name,
        inputs["prompt_token_ids"],
        SamplingParams(max_tokens=NEW_TOKENS, ignore_eos=True),
        None,
        mm_features=features,
        block_hasher=get_request_block_hasher(BLOCK, sha256),
    )


def run(serving: Scheduler) -> list[tuple[dict[str, int], dict[str, list[int]]]]:
    """Runs all requests to their ends; the tokens and the encoded pictures of each step, by request."""
    steps = []
    while serving.has_unfinished_requests():
        step = vllm_scheduler.run_step(serving)
        steps.append((dict(step.num_scheduled_tokens), dict(step.scheduled_encoder_inputs)))
    return steps


def test_a_picture_is_encoded_once_and_read_over_several_steps(scheduler: Scheduler) -> None:
    scheduler.add_request(request("a", SQUARE))
    steps = run(scheduler)
    assert [encoded for _, encoded in steps if encoded] == [{"a": [0]}]
    assert max(tokens["a"] for tokens, _ in steps) == TOKENS
    assert sum(tokens["a"] > 1 for tokens, _ in steps) >= ROWS[SQUARE] // TOKENS


def test_a_step_encodes_so_many_views_and_texts_go_on(scheduler: Scheduler) -> None:
    for name, pictures in {"a": [SQUARE, LAND], "b": [TINY], "c": []}.items():
        scheduler.add_request(request(name, *pictures))
    steps = run(scheduler)
    encoded = [(name, index) for _, inputs in steps for name, indices in inputs.items() for index in indices]
    assert sorted(encoded) == [("a", 0), ("a", 1), ("b", 0)]
    assert all(sum(map(len, inputs.values())) <= 1 for _, inputs in steps)


def test_two_pictures_of_few_rows_but_more_views_than_a_step_has_are_encoded_in_two(scheduler: Scheduler) -> None:
    scheduler.add_request(request("a", TINY))
    scheduler.add_request(request("b", "wide6.png"))
    first, second, *_ = run(scheduler)
    assert first[1] == {"a": [0]}
    assert sum(first[0].values()) < TOKENS  # there was room for tokens of the other
    assert second[1] == {"b": [0]}


def test_a_prefix_that_ends_within_a_picture_has_it_encoded_again_where_it_was_evicted(scheduler: Scheduler) -> None:
    scheduler.add_request(request("a", SQUARE))
    run(scheduler)
    scheduler.add_request(request("b", LAND))  # evicts the picture's rows, not its KV blocks
    run(scheduler)
    again = request("c", SQUARE)
    scheduler.add_request(again)
    steps = run(scheduler)
    cached = again.num_prompt_tokens + NEW_TOKENS - 1 - sum(tokens["c"] for tokens, _ in steps)
    (picture,) = again.mm_features
    assert cached == (picture.mm_position.offset + ROWS[SQUARE]) // BLOCK * BLOCK
    assert picture.mm_position.offset < cached < picture.mm_position.offset + ROWS[SQUARE]
    assert [encoded for _, encoded in steps if encoded] == [{"c": [0]}]
