"""The repetition penalty of generated tokens is transformers' own, over these tokens alone."""

from typing import Any

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor
from vllm import SamplingParams

from llava_interleave_serve.model_executor.original.output_penalty import FIELD, OutputRepetitionPenalty


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
