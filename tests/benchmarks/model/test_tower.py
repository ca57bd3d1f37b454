"""The comparison of the ways to encode: recorded graphs are right, rows of other visuals are not."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlavaConfig
from vllm.v1.worker.encoder_cudagraph import EncoderCudaGraphManager

from llava_interleave_serve.benchmarks.model import tower
from tests.support import checkpoints, encoder_half
from tests.support.checkpoints import IMAGE_SIZE
from tests.support.fakes import platform
from tests.support.gpu import graph_recorder
from tests.support.vllm_scheduler import demo_config


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A worker of vLLM's, as far as it is asked, with encoder graphs."""
    graph_recorder.install(monkeypatch)
    platform.take_for_a_gpu(monkeypatch)
    with encoder_half.one_rank(), torch.inference_mode():
        model = encoder_half.make(LlavaConfig.from_pretrained(checkpoints.DEMO), torch.float32)
        encoder_half.load(model, checkpoints.DEMO)
        manager = EncoderCudaGraphManager(demo_config(), torch.device("cpu"), torch.float32, model)
        manager.capture(None)
        runner = SimpleNamespace(encoder_cudagraph_manager=manager)
        yield SimpleNamespace(get_model=lambda: model, model_runner=runner, device=torch.device("cpu"))


def test_every_way_is_compared_with_the_eager_one_and_timed(worker: Any) -> None:
    (line,) = tower.measure(worker, [3], 1, compiles=False)
    assert line["views"] == 3
    assert set(line["ms"]) == set(line["distance"]) == {"eager", "graphs"}
    assert line["wrong"] == []
    assert min(line["ms"].values()) > 0


def test_rows_of_other_visuals_are_wrong(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = worker.model_runner.encoder_cudagraph_manager
    execute = manager.execute
    monkeypatch.setattr(manager, "execute", lambda given: execute(given)[::-1])
    (line,) = tower.measure(worker, [2], 1, compiles=False)
    assert line["wrong"] == ["graphs"]


def test_the_second_model_runners_graphs_are_found(worker: Any) -> None:
    manager = worker.model_runner.encoder_cudagraph_manager
    worker.model_runner = SimpleNamespace(
        model_state=SimpleNamespace(encoder_runner=SimpleNamespace(cudagraph_manager=manager))
    )
    views = torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8)
    assert set(tower.ways(worker, views, compiles=False)) == {"eager", "graphs"}


def test_layers_are_uncompiled_for_the_eager_way_alone() -> None:
    compiled, plain = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    compiled.do_not_compile, plain.do_not_compile = False, True
    model = SimpleNamespace(vision_tower=torch.nn.Sequential(compiled, plain))
    with tower.uncompiled(model):
        assert compiled.do_not_compile
    assert not compiled.do_not_compile
    assert plain.do_not_compile
