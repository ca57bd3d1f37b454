"""The repetition penalty of output_penalty.py for vLLM's second model runner, which GPUs have by default."""

from typing import Any

import torch

from llava_interleave_serve.model_executor.original.output_penalty import penalty_of
from llava_interleave_serve.model_executor.vllm_compat import SecondRunnerLogitsProcessor


class SecondRunnerOutputPenalty(SecondRunnerLogitsProcessor):
    """Logits processor of Model Runner V2 (`--logits-processors`) for requests that have `output_penalty.FIELD`.

    What it computes is what OutputRepetitionPenalty computes, for the rows of a step together.
    """

    def __init__(self, vllm_config: Any, req_states: Any) -> None:
        self._states = req_states
        self._penalties = torch.ones(req_states.max_num_reqs)  # by the slots of requests
        self._on_device = self._penalties.to(req_states.device)
        self._is_staged = False

    @classmethod
    def validate_params(cls, params: Any) -> None:
        """Raises ValueError for a penalty that is not a number above 0."""
        penalty_of(params)

    def add_request(self, slot: int, params: Any) -> bool:
        """Sets the penalty of the slot; True if its request has one."""
        penalty = penalty_of(params)
        self._is_staged |= penalty != float(self._penalties[slot])
        self._penalties[slot] = penalty
        return penalty != 1.0

    def apply_staged_writes(self) -> None:
        """Copies the penalties to the device before a step, if they have changed."""
        if self._is_staged:
            self._on_device.copy_(self._penalties)
            self._is_staged = False

    def apply(self, logits: torch.Tensor, context: Any) -> torch.Tensor:
        """The logits [rows, vocabulary] of a step, those of tokens that a row's request has generated penalised."""
        if bool((self._penalties[context.idx_mapping_np] == 1.0).all()):
            return logits
        slots = context.expanded_idx_mapping.long()
        length = int(context.seq_lens_upper_bound_np.max())
        tokens = self._states.all_token_ids.gpu[slots, :length].long()
        positions = torch.arange(length, device=logits.device)
        first, end = self._states.prompt_len.gpu[slots, None], self._states.total_len.gpu[slots, None]
        vocabulary = logits.shape[-1]
        tokens = tokens.masked_fill((positions < first) | (positions >= end), vocabulary)
        is_generated = torch.zeros(len(slots), vocabulary + 1, dtype=torch.bool, device=logits.device)
        is_generated.scatter_(1, tokens, True)
        penalty = self._on_device[slots, None]
        penalised = torch.where(logits > 0, logits / penalty, logits * penalty)
        return torch.where(is_generated[:, :vocabulary], penalised, logits)
