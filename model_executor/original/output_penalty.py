"""Repetition penalty over generated tokens alone, as the authors' `generate(inputs_embeds=...)` applies it."""

import math
from typing import Any

import torch

from llava_interleave_serve.model_executor.vllm_compat import AdapterLogitsProcessor

FIELD = "output_repetition_penalty"  # of SamplingParams.extra_args, and of a request's vllm_xargs


class OutputRepetitionPenalty(AdapterLogitsProcessor):
    """Logits processor of vLLM's (`--logits-processors`) for requests that have FIELD.

    vLLM's own `repetition_penalty` counts the prompt's tokens too. transformers is given no token of a prompt that is
    embedded, so that the penalty of a generation_config.json is over the generated tokens only: a positive score is
    divided by it, and another multiplied, under greedy decoding too.
    """

    @classmethod
    def validate_params(cls, params: Any) -> None:
        """Raises ValueError for a penalty that is not a number above 0."""
        penalty_of(params)

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: Any) -> Any:
        """The processor of one request, of its generated tokens and its logits [vocabulary]; None without a penalty."""
        penalty = penalty_of(params)
        if penalty == 1.0:
            return None

        def penalise(generated: list[int], logits: torch.Tensor) -> torch.Tensor:
            tokens = torch.tensor(sorted(set(generated)), dtype=torch.int64).to(logits.device, non_blocking=True)
            scores = logits[tokens]
            logits[tokens] = torch.where(scores > 0, scores / penalty, scores * penalty)
            return logits

        return penalise


def penalty_of(params: Any) -> float:
    """The penalty of a request's SamplingParams; 1.0 without. Raises ValueError if it is not a number above 0."""
    value = (params.extra_args or {}).get(FIELD, 1.0)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{FIELD} must be a number above 0, not {value!r}")
    return float(value)
