"""How many visuals the tower encodes a step, and how many of its outputs are kept for whoever asks about them next."""

from typing import Any, Self

from llava_interleave_serve.model_executor import vllm_compat
from llava_interleave_serve.model_executor.config import grid

KEPT = 64  # visuals, unpooled
PATCHES_A_STEP = 1024  # on a CPU; one visual of 27x27


class VisualCache(vllm_compat.EncoderCacheManager):
    """vLLM's encoder cache, told in visuals; named by `--ec-manager-config` (vLLM), as our server does.

    vLLM keeps as many outputs as a step has tokens, 2.8 visuals' on a CPU, and counts the tower's work by what comes
    out: pooled by 2, a visual would cost a quarter of what it does, and a step ten towers while every stream waits. On
    a GPU a step's tokens alone bound what it encodes, unless told otherwise.
    """

    def __init__(self, cache_size: int, visuals_a_step: int | None) -> None:
        super().__init__(cache_size)
        self._visuals_a_step = self._left = visuals_a_step
        self._whole_budget = 0  # of a step, in embeddings, as vLLM tells it at the first visual of each

    @classmethod
    def create_manager(cls, *, cache_size: int, vllm_config: Any) -> Self:
        """cache_size: vLLM's own, in embeddings.

        The manager_config may say `visuals_kept` and `visuals_a_step`. Raises ValueError for another key, or a number
        below 1.
        """
        told = dict(vllm_config.ec_manager_config.manager_config)
        patches = grid(vllm_config.model_config.hf_config) ** 2
        on_cpu = vllm_compat.current_platform.is_cpu()
        kept = told.pop("visuals_kept", KEPT)
        a_step = told.pop("visuals_a_step", max(1, PATCHES_A_STEP // patches) if on_cpu else None)
        if told or kept < 1 or (a_step is not None and a_step < 1):
            raise ValueError("manager_config takes visuals_kept and visuals_a_step, at least 1 each")
        return cls(max(cache_size, kept * patches), a_step)

    def can_allocate(
        self, request: Any, input_id: int, encoder_compute_budget: int, num_embeds_to_schedule: int
    ) -> bool:
        self._whole_budget = max(self._whole_budget, encoder_compute_budget)
        if encoder_compute_budget == self._whole_budget:  # nothing is spent yet: a new step
            self._left = self._visuals_a_step
        if self._left == 0:  # asked first, for vLLM's answer throws out what is kept
            return False
        allowed = super().can_allocate(request, input_id, encoder_compute_budget, num_embeds_to_schedule)
        if allowed and self._left is not None:
            self._left -= 1
        return allowed
