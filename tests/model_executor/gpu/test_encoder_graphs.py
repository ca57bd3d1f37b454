"""The tower in CUDA graphs: vLLM's own manager, over recorded graphs, gives what `embed_multimodal` gives."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from transformers import LlavaConfig
from vllm.model_executor.models.interfaces import supports_encoder_cudagraph
from vllm.v1.worker.encoder_cudagraph import EncoderCudaGraphManager

from llava_interleave_serve.model_executor import encoder_limits, packing
from llava_interleave_serve.model_executor.any_resolution import AnyResolution
from llava_interleave_serve.model_executor.model import LlavaInterleaveForConditionalGeneration
from llava_interleave_serve.model_executor.visual import POOLING_STRIDES, UNPOOLED, Pooling, Visual
from tests.support import checkpoints, encoder_half
from tests.support.checkpoints import GRID, IMAGE_SIZE, PATCHES
from tests.support.fakes import platform
from tests.support.gpu import graph_recorder
from tests.support.vllm_scheduler import demo_config

POOLINGS = [UNPOOLED, *(Pooling(mode, stride) for mode in ("average", "max", "bilinear") for stride in POOLING_STRIDES)]


@pytest.fixture(scope="module")
def model() -> Iterator[LlavaInterleaveForConditionalGeneration]:
    with pytest.MonkeyPatch.context() as patch, encoder_half.one_rank():
        platform.take_for_a_gpu(patch)
        model = encoder_half.make(LlavaConfig.from_pretrained(checkpoints.DEMO), torch.float32)
        encoder_half.load(model, checkpoints.DEMO)
        yield model


@pytest.fixture
def manager(model: LlavaInterleaveForConditionalGeneration, monkeypatch: pytest.MonkeyPatch) -> EncoderCudaGraphManager:
    """vLLM's manager with graphs of 1, 2, 4 and 7 views captured."""
    graph_recorder.install(monkeypatch)
    monkeypatch.setattr(encoder_limits, "PATCHES_A_CALL", 7 * PATCHES)
    manager = EncoderCudaGraphManager(demo_config(), torch.device("cpu"), torch.float32, model)
    with torch.inference_mode():
        manager.capture(None)
        yield manager


def encoded(pooling: Pooling) -> tuple[int, ...]:
    return packing.encode(Visual(np.zeros((1, 1, 1, 3), np.uint8), pooling))


def items(poolings: list[Pooling], seed: int = 0) -> dict[str, torch.Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    views = torch.randint(0, 256, (len(poolings), 1, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=torch.uint8, generator=numbers)
    return {"views": views, "packings": torch.tensor([encoded(pooling) for pooling in poolings])}


def test_vllm_takes_the_model_for_one_with_encoder_graphs(model: LlavaInterleaveForConditionalGeneration) -> None:
    assert supports_encoder_cudagraph(model)


def test_a_graph_is_captured_for_each_number_of_views_that_doubles_up_to_a_calls(
    manager: EncoderCudaGraphManager,
) -> None:
    assert manager.token_budgets == [PATCHES, 2 * PATCHES, 4 * PATCHES, 7 * PATCHES]
    views = [len(graph.input_buffers["views"]) for graph in manager.budget_graphs["default"].values()]
    assert sorted(views) == [1, 2, 4, 7]


def test_graphs_give_what_the_model_gives_for_any_mix(
    manager: EncoderCudaGraphManager, model: LlavaInterleaveForConditionalGeneration
) -> None:
    mixes = random.Random(0)
    for count in (1, 2, 3, 5, 7, 8, 20):
        poolings = mixes.choices(POOLINGS, k=count)
        given = items(poolings, count)
        rows = manager.execute(dict(given))
        expected = model.embed_multimodal(**given)
        assert [each.shape for each in rows] == [(pooling.side(GRID) ** 2, 192) for pooling in poolings]
        for ours, eager in zip(rows, expected, strict=True):
            torch.testing.assert_close(ours, eager)
        assert all(each.untyped_storage().nbytes() == each.nbytes for each in rows)
    assert manager.graph_misses == 0


def test_pooled_visuals_are_packed_by_the_towers_work_and_not_by_their_rows(
    manager: EncoderCudaGraphManager,
) -> None:
    rows = manager.execute(items([Pooling("average", 4)] * 64))
    assert [len(each) for each in rows] == [Pooling("average", 4).side(GRID) ** 2] * 64
    replays = {budget: graph.graph.replays for budget, graph in manager.budget_graphs["default"].items()}
    assert sum(replays.values()) == 10  # 9 graphs of 7 views and one of 1
    assert replays[7 * PATCHES] == 9


def test_padding_of_an_earlier_replay_reaches_no_later_one(manager: EncoderCudaGraphManager) -> None:
    alone = manager.execute(items([UNPOOLED]))[0]
    manager.execute(items([UNPOOLED] * 4, seed=1))
    given = items([UNPOOLED] * 3, seed=2)
    given["views"][1] = items([UNPOOLED])["views"][0]
    torch.testing.assert_close(manager.execute(given)[1], alone)


def test_a_rank_without_visuals_has_an_empty_batch(model: LlavaInterleaveForConditionalGeneration) -> None:
    chosen = model.select_encoder_cudagraph_items(items([UNPOOLED] * 2), [])
    assert chosen["views"].shape == (0, 1, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert chosen["packings"].shape == (0, 12)
    several = {"views": [torch.zeros(3, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8)], "packings": torch.zeros(1, 12)}
    assert model.select_encoder_cudagraph_items(several, [])["views"].flatten(0, 1).shape == (
        0,
        IMAGE_SIZE,
        IMAGE_SIZE,
        3,
    )


def test_graphs_give_what_the_model_gives_for_pictures_of_several_views(
    manager: EncoderCudaGraphManager, model: LlavaInterleaveForConditionalGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    newline = torch.randn(model.config.text_config.hidden_size, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(model, "image_newline", newline)
    resolutions = AnyResolution(
        tuple((IMAGE_SIZE * wide, IMAGE_SIZE * high) for wide, high in ((1, 2), (2, 1), (2, 2), (3, 3))),
        IMAGE_SIZE,
        GRID,
    )
    layouts = [
        resolutions.layout(*(round(side * IMAGE_SIZE) for side in sides))
        for sides in ((2.7, 0.6), (0.8, 1.8), (0.9, 0.91), (2.9, 3.0))
    ]
    numbers = torch.Generator().manual_seed(7)
    views = [
        torch.randint(0, 256, (each.num_views, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=torch.uint8, generator=numbers)
        for each in layouts
    ]
    packings = [packing.encode(Visual(each.numpy(), layout=where)) for each, where in zip(views, layouts, strict=True)]
    views.insert(1, torch.zeros(1, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8))
    packings.insert(1, encoded(Pooling("average", 2)))
    given = {"views": views, "packings": torch.tensor(packings)}
    calls: list[int] = []
    hook = model.vision_tower.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    rows = manager.execute(dict(given))
    hook.remove()
    assert calls == [7, 3] * 2  # of the two pictures of ten views, for which there is no graph
    for ours, eager in zip(rows, model.embed_multimodal(**given), strict=True):
        torch.testing.assert_close(ours, eager)


@pytest.mark.parametrize(("tokens", "views"), [(500, 1), (2048, 2), (8192, 11), (16_384, 16)])
def test_no_graph_is_larger_than_a_step_or_a_call(
    model: LlavaInterleaveForConditionalGeneration, tokens: int, views: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = demo_config()
    monkeypatch.setattr(config.scheduler_config, "max_num_batched_tokens", tokens)
    monkeypatch.setattr(model.config.vision_config, "image_size", 27 * 16)
    assert model.get_encoder_cudagraph_budget_range(config) == (729, views * 729)
