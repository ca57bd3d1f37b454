"""vLLM's encoder cache with its limits in visuals: how many are encoded in a step, and how many outputs are kept."""

from typing import Any, Self

from llava_interleave_serve.model_executor import encoder_limits, vllm_compat
from llava_interleave_serve.model_executor.config import grid


class VisualCache(vllm_compat.EncoderCacheManager):
    """Encoder cache for `--ec-manager-config` (vLLM), which our server sets.

    vLLM sizes this cache and the encoder's budget of a step in *output embeddings*. With max_num_batched_tokens = 2048
    there is room for 2.8 unpooled visuals of 729 patches, so little is reused. And a visual pooled 2x2 is charged 196
    embeddings although the tower does the full work for it: one step could encode ten visuals while every stream waits.
    So both limits are in visuals here, each counted as if it were not pooled.
    """

    def __init__(self, cache_size: int, visuals_a_step: int) -> None:
        """cache_size: in embeddings."""
        super().__init__(cache_size)
        self._visuals_a_step = visuals_a_step
        self._visuals_left = visuals_a_step  # of the current step
        self._full_budget = 0  # embeddings of a step: the largest budget seen, which each step begins with

    @classmethod
    def create_manager(cls, *, cache_size: int, vllm_config: Any) -> Self:
        """Makes the cache from vLLM's configuration.

        cache_size: vLLM's own size, in embeddings; the cache is never smaller. The configuration's manager_config may
        have `visuals_kept` and `visuals_a_step`.

        Raises ValueError for another key, or a number below 1.
        """
        options = dict(vllm_config.ec_manager_config.manager_config)
        patches = grid(vllm_config.model_config.hf_config) ** 2
        on_cpu = vllm_compat.current_platform.is_cpu()
        patches_a_step = (
            encoder_limits.PATCHES_A_STEP if on_cpu else vllm_config.scheduler_config.max_num_batched_tokens
        )
        visuals_kept = options.pop("visuals_kept", encoder_limits.VISUALS_KEPT)
        visuals_a_step = options.pop("visuals_a_step", encoder_limits.visuals_a_step(patches, patches_a_step))
        if options or min(visuals_kept, visuals_a_step) < 1:
            raise ValueError("manager_config takes visuals_kept and visuals_a_step, at least 1 each")
        return cls(encoder_limits.rows_kept(patches, cache_size, visuals_kept), visuals_a_step)

    @classmethod
    def output_bytes(cls, vllm_config: Any) -> int:
        """The most bytes that kept encoder outputs take on each device, which vLLM's sizing of KV blocks leaves out.

        Raises ValueError as `create_manager` does.
        """
        model = vllm_config.model_config
        vllms_own = vllm_config.scheduler_config.encoder_cache_size
        cache = cls.create_manager(cache_size=vllms_own, vllm_config=vllm_config)
        width: int = model.hf_config.text_config.hidden_size
        return cache.cache_size * width * model.dtype.itemsize

    def can_allocate(
        self, request: Any, input_id: int, encoder_compute_budget: int, num_embeds_to_schedule: int
    ) -> bool:
        """True if the visual may be encoded in this step; counts it then.

        vLLM calls this for each visual with the budget that is left of the step, so a full budget means a new step.
        """
        self._full_budget = max(self._full_budget, encoder_compute_budget)
        if encoder_compute_budget == self._full_budget:
            self._visuals_left = self._visuals_a_step
        if self._visuals_left == 0:  # checked before vLLM, whose check already evicts outputs
            return False
        allowed = super().can_allocate(request, input_id, encoder_compute_budget, num_embeds_to_schedule)
        if allowed:
            self._visuals_left -= 1
        return allowed
