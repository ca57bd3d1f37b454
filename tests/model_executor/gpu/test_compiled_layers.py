"""The tower's layers under torch.compile give what they give without, and only where vLLM's option says so."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import LlavaConfig
from vllm.config import CompilationMode, set_current_vllm_config
from vllm.v1.worker.encoder_cudagraph import EncoderCudaGraphManager

from llava_interleave_serve.model_executor.gpu.compiled_layers import TowerLayer
from llava_interleave_serve.model_executor.model import LlavaInterleaveForConditionalGeneration
from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling
from llava_interleave_serve.model_executor.vllm_compat import SiglipVisionTransformer
from tests.support import checkpoints, encoder_half
from tests.support.checkpoints import IMAGE_SIZE, PATCHES
from tests.support.fakes import platform
from tests.support.gpu import counting_backend, graph_recorder
from tests.support.vllm_scheduler import demo_config

COUNTED = f"{counting_backend.__name__}.count"
COUNTS = (1, 2, 3, 5, 16)  # views of a call; the first is for which the code is made
# Of the largest value: a fused sum has its own order, a few roundings of float32 (6e-8) in the one layer.
ALLOWED = 1e-6


@contextlib.contextmanager
def tower(layers: int, **compilation: Any) -> Iterator[LlavaInterleaveForConditionalGeneration]:
    """The demo's encoder half with so many of its tower's layers, made under these options of compilation."""
    config = LlavaConfig.from_pretrained(checkpoints.DEMO)
    config.vision_feature_layer = layers
    vllm_config = demo_config(compilation_config=compilation)
    with pytest.MonkeyPatch.context() as patch, encoder_half.one_rank(), set_current_vllm_config(vllm_config):
        platform.take_for_a_gpu(patch)
        patch.setenv("VLLM_USE_AOT_COMPILE", "0")  # which saves what Inductor alone makes
        model = encoder_half.make(config, torch.float32)
        random = torch.Generator().manual_seed(0)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1, generator=random)
        counting_backend.graphs.clear()
        torch._dynamo.reset()
        yield model


def views(count: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=torch.uint8, generator=random)


def tower_layers(model: LlavaInterleaveForConditionalGeneration) -> list[TowerLayer]:
    found: list[TowerLayer] = list(model.vision_tower.vision_model.encoder.layers)
    return found


def eager(model: LlavaInterleaveForConditionalGeneration, given: torch.Tensor) -> torch.Tensor:
    """The features by the layers as they are written."""
    hidden = model.vision_tower._embed(
        given,
        model.vision_tower.vision_model.embeddings.patch_embedding,
        model.vision_tower.vision_model.embeddings.position_embedding.weight,
    )
    for layer in tower_layers(model):
        hidden, _ = layer.forward(hidden)
    return hidden


def difference(features: torch.Tensor, expected: torch.Tensor) -> float:
    return float((features - expected).abs().max() / expected.abs().max())


@torch.inference_mode()
def test_without_the_option_a_layer_is_vllms_own_and_nothing_is_compiled() -> None:
    with tower(1, backend=COUNTED) as model:
        (layer,) = tower_layers(model)
        config = model.config.vision_config
        theirs = SiglipVisionTransformer(config, num_hidden_layers_override=1, use_head=False).encoder.layers[0]
        theirs.load_state_dict(layer.state_dict())
        hidden = torch.randn(3, PATCHES, config.hidden_size, generator=torch.Generator().manual_seed(1))
        assert layer(hidden.clone())[0].equal(theirs(hidden.clone())[0])
    assert layer.do_not_compile
    assert counting_backend.graphs == []


@torch.inference_mode()
def test_a_layer_is_traced_once_for_any_number_of_views_be_the_first_a_single_one() -> None:
    with tower(2, backend=COUNTED, compile_mm_encoder=True, mode=CompilationMode.DYNAMO_TRACE_ONCE) as model:
        for count in COUNTS:
            given = views(count)
            assert difference(model.vision_tower(given), eager(model, given)) == 0
    assert len(counting_backend.graphs) == 2  # one for each layer
    traced = " ".join(counting_backend.graphs[0])
    assert traced.count("layer_norm") == 2
    assert traced.count("add") == 2


@torch.inference_mode()
def test_eager_mode_compiles_nothing() -> None:
    with tower(1, backend=COUNTED, compile_mm_encoder=True, mode=CompilationMode.NONE) as model:
        model.vision_tower(views(2))
    assert counting_backend.graphs == []


@torch.inference_mode()
def test_inductors_code_gives_what_the_layers_give(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path))
    with tower(1, backend="inductor", compile_mm_encoder=True, mode=CompilationMode.DYNAMO_TRACE_ONCE) as model:
        (layer,) = tower_layers(model)
        for count in COUNTS:
            given = views(count)
            assert difference(model.vision_tower(given), eager(model, given)) <= ALLOWED
    assert layer.compiled or layer.aot_compiled_fn is not None


@torch.inference_mode()
def test_layers_are_compiled_before_graphs_are_captured_and_the_graphs_give_what_the_model_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled_at_capture: list[int] = []
    graph_recorder.install(monkeypatch)
    monkeypatch.setattr(graph_recorder.RecordedGraph, "__enter__", _noting(compiled_at_capture))
    with tower(1, backend=COUNTED, compile_mm_encoder=True, mode=CompilationMode.DYNAMO_TRACE_ONCE) as model:
        manager = EncoderCudaGraphManager(demo_config(), torch.device("cpu"), torch.float32, model)
        manager.capture(None)
        poolings = [UNPOOLED, Pooling("average", 2), Pooling("max", 3), UNPOOLED, Pooling("bilinear", 2)]
        given = {"views": views(5)[:, None], "packings": encoder_half.packings(poolings)}
        rows = manager.execute(dict(given))
        for layer in tower_layers(model):
            layer.do_not_compile = True
        for ours, expected in zip(rows, model.embed_multimodal(**given), strict=True):
            torch.testing.assert_close(ours, expected)
    assert compiled_at_capture
    assert set(compiled_at_capture) == {1}
    assert len(counting_backend.graphs) == 1


def _noting(numbers: list[int]) -> Any:
    """`__enter__` of a recorded graph, which notes how many graphs have been compiled."""
    enter = graph_recorder.RecordedGraph.__enter__

    def noted(self: Any) -> Any:
        numbers.append(len(counting_backend.graphs))
        return enter(self)

    return noted
