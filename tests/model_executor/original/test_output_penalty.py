"""The repetition penalty of generated tokens is transformers' own, over these tokens alone."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor
from vllm import SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.v1.sample.logits_processor import validate_logits_processors_parameters
from vllm.v1.worker.gpu.sample.logits_processor import (
    build_custom_logits_processors_params_validator as second_runner_validator,
)

from llava_interleave_serve.model_executor.original.output_penalty import FIELD, OutputRepetitionPenalty
from llava_interleave_serve.model_executor.original.second_runner_penalty import SecondRunnerOutputPenalty
from llava_interleave_serve.server.engine import output_penalty


def first_runner_validator(processors: list[str]) -> Any:
    return partial(validate_logits_processors_parameters, processors)


def processor(**extra: Any) -> Any:
    params = SamplingParams(extra_args=extra or None)
    OutputRepetitionPenalty.validate_params(params)
    return OutputRepetitionPenalty(None, torch.device("cpu"), False).new_req_logits_processor(params)  # type: ignore[arg-type]


@pytest.mark.parametrize("generated", [[], [3], [7, 3, 3, 0]])
def test_the_penalty_is_that_of_transformers(generated: list[int]) -> None:
    logits = torch.randn(12, generator=torch.Generator().manual_seed(len(generated)))
    wanted = logits.clone()
    if generated:
        wanted = RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([generated]), logits[None].clone())[0]
    assert processor(**{FIELD: 1.3})(generated, logits).equal(wanted)


@pytest.mark.parametrize("extra", [{}, {FIELD: 1}, {FIELD: 1.0}, {"other": 3}])
def test_requests_without_a_penalty_have_no_processor(extra: dict[str, Any]) -> None:
    assert processor(**extra) is None


@pytest.mark.parametrize("value", [0, -1.0, "1.1", True, float("nan"), float("inf"), None])
def test_another_value_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=f"{FIELD} must be a number above 0"):
        processor(**{FIELD: value})


def test_the_penalty_changes_greedy_answers() -> None:
    assert not OutputRepetitionPenalty(None, torch.device("cpu"), False).is_argmax_invariant()  # type: ignore[arg-type]


def second_runner(tokens: list[list[int]], prompts: list[int], penalties: list[float]) -> tuple[Any, Any]:
    """The second runner's processor of requests with these tokens, prompt lengths and penalties; a step's context."""
    lengths = [len(each) for each in tokens]
    rows = torch.zeros(len(tokens), 16, dtype=torch.int32)
    for row, each in zip(rows, tokens, strict=True):
        row[: len(each)] = torch.tensor(each)
    states = SimpleNamespace(
        device=torch.device("cpu"),
        max_num_reqs=len(tokens),
        all_token_ids=SimpleNamespace(gpu=rows),
        prompt_len=SimpleNamespace(gpu=torch.tensor(prompts)),
        total_len=SimpleNamespace(gpu=torch.tensor(lengths)),
    )
    penalising = SecondRunnerOutputPenalty(None, states)
    for slot, penalty in enumerate(penalties):
        params = SamplingParams(extra_args={FIELD: penalty})
        assert penalising.add_request(slot, params) == (penalty != 1.0)
    penalising.apply_staged_writes()
    slots = torch.arange(len(tokens), dtype=torch.int32)
    context = SimpleNamespace(
        idx_mapping_np=slots.numpy(), expanded_idx_mapping=slots, seq_lens_upper_bound_np=np.array(lengths)
    )
    return penalising, context


def test_the_second_runner_penalises_the_same() -> None:
    tokens, prompts, penalties = [[1, 2, 7, 3, 3, 0], [5, 6], [4, 9, 9], [8, 8, 2]], [2, 1, 1, 2], [1.3, 0.5, 1.0, 2.0]
    penalising, context = second_runner(tokens, prompts, penalties)
    logits = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    wanted = torch.stack(
        [
            row if penalty == 1.0 else processor(**{FIELD: penalty})(each[prompt:], row)
            for row, each, prompt, penalty in zip(logits.clone(), tokens, prompts, penalties, strict=True)
        ]
    )
    assert penalising.apply(logits.clone(), context).equal(wanted)


def test_a_slot_that_is_used_again_has_the_next_requests_penalty() -> None:
    penalising, context = second_runner([[1, 2, 3]], [1], [1.3])
    penalising.add_request(0, SamplingParams())
    penalising.apply_staged_writes()
    logits = torch.randn(1, 12)
    assert penalising.apply(logits, context) is logits


@pytest.mark.parametrize(
    ("build", "path"),
    [(first_runner_validator, output_penalty.FIRST_RUNNER), (second_runner_validator, output_penalty.SECOND_RUNNER)],
    ids=["first", "second"],
)
def test_each_model_runner_of_vllm_takes_its_processor(build: Any, path: str) -> None:
    validate = build([path])
    validate(SamplingParams(extra_args={FIELD: 1.1}))
    with pytest.raises((ValueError, VLLMValidationError), match=FIELD):
        validate(SamplingParams(extra_args={FIELD: -1}))
