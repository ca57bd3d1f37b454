"""How many visuals the tower encodes a step, and how many of its outputs are kept for whoever asks about them next."""

from typing import Any, Self

from llava_interleave_serve.model_executor import vllm_compat
from llava_interleave_serve.model_executor.config import grid

KEPT = 64  # visuals, unpooled
PATCHES_A_STEP = 1024  # on a CPU; one visual of 27x27


class VisualCache(vllm_compat.EncoderCacheManager):
    """vLLM's encoder cache, told in visuals; named by `--ec-manager-config` (vLLM), as our server does.

    vLLM keeps as many outputs as a step has tokens, 2.8 visuals' on a CPU, and counts the tower's work by what comes
    out: pooled by 2, a visual would cost a quarter of what it does, and a step ten towers while every stream waits.
    """

    def __init__(self, cache_size: int, visuals_a_step: int) -> None:
        super().__init__(cache_size)
        self._visuals_a_step = self._left = visuals_a_step

    @classmethod
    def create_manager(cls, *, cache_size: int, vllm_config: Any) -> Self:
        """cache_size: vLLM's own, in embeddings, which is also what a step may encode.

        The manager_config may say `visuals_kept` and `visuals_a_step`. Raises ValueError for another key, or a number
        below 1.
        """
        told = dict(vllm_config.ec_manager_config.manager_config)
        patches = grid(vllm_config.model_config.hf_config) ** 2
        work = PATCHES_A_STEP if vllm_compat.current_platform.is_cpu() else cache_size
        kept, a_step = told.pop("visuals_kept", KEPT), told.pop("visuals_a_step", max(1, work // patches))
        if told or kept < 1 or a_step < 1:
            raise ValueError("manager_config takes visuals_kept and visuals_a_step, at least 1 each")
        return cls(max(cache_size, kept * patches), a_step)

    def can_allocate(
        self, request: Any, input_id: int, encoder_compute_budget: int, num_embeds_to_schedule: int
    ) -> bool:
        if self._left == 0 or not super().can_allocate(
            request, input_id, encoder_compute_budget, num_embeds_to_schedule
        ):
            return False
        self._left -= 1
        return True

    def get_freed_mm_hashes(self) -> list[str]:
        """What the scheduler asks for once a step, at its end."""
        self._left = self._visuals_a_step
        return super().get_freed_mm_hashes()
