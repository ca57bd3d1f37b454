"""vLLM's encoder cache with its limits in visuals: how many are encoded in a step, and how many outputs are kept."""

from typing import Any, NamedTuple, Self

import numpy as np

from llava_interleave_serve.model_executor import encoder_limits, visual_counters, vllm_compat
from llava_interleave_serve.model_executor.config import grid

HITS, MISSES, EVICTIONS, BYTES = range(len(visual_counters.NAMES))


class VisualCache(vllm_compat.EncoderCacheManager):
    """Encoder cache for `--ec-manager-config` (vLLM), which our server sets.

    vLLM sizes this cache and the encoder's budget of a step in *output embeddings*. With max_num_batched_tokens = 2048
    there is room for 2.8 unpooled visuals of 729 patches, so little is reused. And a visual pooled 2x2 is charged 196
    embeddings although the tower does the full work for it: one step could encode ten visuals while every stream waits.
    So both limits are in visuals here, each counted as if it were not pooled, and one of several views by its views.
    One with more views than a step has is encoded in a step of its own.

    vLLM asks for running requests first, and where the first waiting request may not encode the visual that it begins
    with, those behind it are not looked at: texts would wait until a request of many visuals has encoded them all. So
    the waiting request that was refused first in a step is promised its visual in the next step.
    """

    def __init__(
        self,
        cache_size: int,
        views_a_step: int,
        patches: int,
        *,
        row_bytes: int = 0,
        counters: np.ndarray | None = None,
    ) -> None:
        """cache_size: in embeddings. patches: of a view, which are its embeddings if it is not pooled.

        row_bytes: of an embedding. counters: of `visual_counters`, which are written.
        """
        super().__init__(cache_size)
        self._views_a_step, self._patches = views_a_step, patches
        self._views_left = views_a_step  # of the current step
        self._row_bytes = row_bytes
        self._counters = np.zeros(len(visual_counters.NAMES), np.int64) if counters is None else counters
        self._refused: _Promise | None = None  # the waiting request that was refused first in this step
        self._promised: _Promise | None = None  # the one for which views of this step are kept back

    @classmethod
    def create_manager(cls, *, cache_size: int, vllm_config: Any) -> Self:
        """Makes the cache from vLLM's configuration.

        cache_size: vLLM's own size, in embeddings; the cache is never smaller. The configuration's manager_config may
        have `visuals_kept` and `visuals_a_step`, which counts views, and in `counters` the file of `visual_counters`.

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
        counters = visual_counters.open_line(
            options.pop("counters", None), vllm_config.parallel_config.data_parallel_index
        )
        if options or min(visuals_kept, visuals_a_step) < 1:
            raise ValueError("manager_config takes visuals_kept and visuals_a_step, at least 1 each")
        rows = encoder_limits.rows_kept(patches, cache_size, visuals_kept)
        return cls(rows, visuals_a_step, patches, row_bytes=cls._row_bytes_of(vllm_config), counters=counters)

    @staticmethod
    def _row_bytes_of(vllm_config: Any) -> int:
        model = vllm_config.model_config
        size: int = model.hf_config.text_config.hidden_size * model.dtype.itemsize
        return size

    @classmethod
    def output_bytes(cls, vllm_config: Any) -> int:
        """The most bytes that kept encoder outputs take on each device, which vLLM's sizing of KV blocks leaves out.

        Raises ValueError as `create_manager` does.
        """
        vllms_own = vllm_config.scheduler_config.encoder_cache_size
        cache = cls.create_manager(cache_size=vllms_own, vllm_config=vllm_config)
        return cache.cache_size * cls._row_bytes_of(vllm_config)

    def check_and_update_cache(self, request: Any, input_id: int) -> bool:
        """True if the output is kept; counts it the first time: one that steps cut is asked for again."""
        asked_before = request.request_id in self.cached.get(request.mm_features[input_id].identifier, ())
        kept = super().check_and_update_cache(request, input_id)
        self._counters[HITS] += kept and not asked_before
        return kept

    def allocate(self, request: Any, input_id: int) -> None:
        super().allocate(request, input_id)
        self._counters[MISSES] += 1

    def can_allocate(
        self, request: Any, input_id: int, encoder_compute_budget: int, num_embeds_to_schedule: int
    ) -> bool:
        """True if the visual may be encoded in this step; counts it then."""
        rows = request.get_num_encoder_embeds(input_id)
        views = _number_of_views(request.mm_features[input_id], rows, self._patches)
        promised = self._promised
        kept_back = 0 if promised is None or promised.request_id == request.request_id else promised.views
        kept_rows = 0 if promised is None or kept_back == 0 else max(promised.rows, kept_back * self._patches)
        is_first = kept_back == 0 and self._views_left == self._views_a_step
        # Looked at before vLLM's own check, which already evicts outputs.
        allowed = (is_first or views + kept_back <= self._views_left) and super().can_allocate(
            request, input_id, encoder_compute_budget - kept_rows, num_embeds_to_schedule
        )
        if allowed:
            self._views_left -= views
        elif self._refused is None and request.status != vllm_compat.RequestStatus.RUNNING:
            self._refused = _Promise(request.request_id, views, rows)
        return allowed

    def get_freed_mm_hashes(self) -> list[str]:
        """The outputs that were evicted, which vLLM asks for once, at the end of each step."""
        self._views_left, self._promised, self._refused = self._views_a_step, self._refused, None
        freed: list[str] = super().get_freed_mm_hashes()
        self._counters[EVICTIONS] += len(freed)
        self._counters[BYTES] = (self.cache_size - self.num_free_slots) * self._row_bytes
        return freed


class _Promise(NamedTuple):
    """A request's place in the next step.

    request_id: of the request. views, rows: of its next visual.
    """

    request_id: str
    views: int
    rows: int


def _number_of_views(feature: Any, rows: int, patches: int) -> int:
    """The views of a visual, or frames of a video; at most as many as its rows fill, where its pixels are elsewhere."""
    for field in ("views", "frames"):
        if feature.data is not None and field in feature.data:
            return len(feature.data[field].data)
    return -(-rows // patches)
