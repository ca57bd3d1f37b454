"""A later stage of a pipeline on a CPU has buffers for what the earlier one sends, before its first request."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.v1.worker.cpu_worker import CPUWorker

from llava_interleave_serve.model_executor.cpu import pipeline_worker
from llava_interleave_serve.model_executor.vllm_compat import IntermediateTensors

TOKENS, WIDTH = 16, 8


def empty(batch_size: int, dtype: torch.dtype, device: torch.device) -> IntermediateTensors:
    return IntermediateTensors({"hidden_states": torch.zeros(batch_size, WIDTH, dtype=dtype, device=device)})


@pytest.mark.parametrize("is_first", [True, False])
def test_a_later_stage_has_its_buffers_once_the_model_is_loaded(
    is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[bool] = []
    monkeypatch.setattr(CPUWorker, "load_model", lambda _, *, load_dummy_weights: loaded.append(load_dummy_weights))
    monkeypatch.setattr(pipeline_worker, "get_pp_group", lambda: SimpleNamespace(is_first_rank=is_first))
    worker: Any = pipeline_worker.PipelineWorker.__new__(pipeline_worker.PipelineWorker)
    model = SimpleNamespace(make_empty_intermediate_tensors=empty)
    worker.model_runner = SimpleNamespace(
        intermediate_tensors=None, max_num_tokens=TOKENS, get_model=lambda: model
    )  # fmt: skip
    worker.model_config, worker.device = SimpleNamespace(dtype=torch.bfloat16), torch.device("cpu")
    worker.load_model()
    assert loaded == [False]
    buffers = worker.model_runner.intermediate_tensors
    if is_first:
        assert buffers is None
        return
    assert (buffers["hidden_states"].shape, buffers["hidden_states"].dtype) == ((TOKENS, WIDTH), torch.bfloat16)
