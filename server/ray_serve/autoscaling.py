"""How many replicas Ray Serve should run, by what those that run have in flight and refuse."""

import math
from collections.abc import Mapping
from typing import Any

VISUAL_TOKENS, REFUSALS = "visual_tokens", "refusals"  # names of what a replica records


class ByVisualTokens:
    """Ray's autoscaling policy: as many replicas as have `per_replica` visual tokens in flight each.

    While any replica refuses requests for want of room, one more than there are. Replicas are taken away one at a time,
    after `patience` seconds of less load, since their caches go with them.
    """

    def __init__(self, per_replica: int = 60_000, patience: float = 600.0) -> None:
        self._per_replica, self._patience = per_replica, patience

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """The number of replicas, and what the policy keeps until it is asked again. context: AutoscalingContext."""
        state: dict[str, Any] = dict(context.policy_state or {})
        metrics = context.aggregated_metrics or {}
        now, current = context.current_time or 0.0, context.target_num_replicas
        wanted = math.ceil(sum(metrics.get(VISUAL_TOKENS, {}).values()) / self._per_replica)
        # The counters as they were recorded last: Ray's means go on growing for half a minute after the last refusal.
        recorded = (context.raw_metrics or {}).get(REFUSALS, {})
        refusals = {str(replica): series[-1].value for replica, series in recorded.items() if series}
        if _has_grown(refusals, state.get(REFUSALS, {})):
            wanted = max(wanted, context.current_num_replicas + 1)
        state[REFUSALS] = refusals
        if wanted >= current:
            state["less_since"] = None
        elif state.get("less_since") is None:
            state["less_since"], wanted = now, current
        elif now - state["less_since"] < self._patience:
            wanted = current
        else:
            state["less_since"], wanted = now, current - 1
        least, most = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
        return max(least, min(most, wanted)), state


def _has_grown(counts: Mapping[str, float], before: Mapping[str, float]) -> bool:
    """True if a replica that was there before counts more than then."""
    return any(count > before[replica] for replica, count in counts.items() if replica in before)
