"""vLLM's scheduler on a CPU, where what a step costs grows with its sequences, fair to several API keys."""

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request

KEY_SEQUENCES = 4  # of a key, at least, in each step
STEP_TOKENS = 512  # of a step, at most, while several keys count
# Seconds for which a key counts after its last step: its next request, while it is on its way here, shares the
# processors with the others' steps.
LINGERING = 0.5


def held_back(running: Sequence[Request], step: int) -> set[str]:
    """The ids of the running requests that are left out of a step, where several keys count.

    Of one key, at most KEY_SEQUENCES run in a step, or as many as of all other keys together if that is more. They have
    their turns: the next steps begin where this one ended.

    running: requests of several keys have different cache salts.
    """
    by_key: defaultdict[str | None, list[str]] = defaultdict(list)
    for request in running:
        by_key[request.cache_salt].append(request.request_id)
    held: set[str] = set()
    for ids in by_key.values():
        share = max(KEY_SEQUENCES, len(running) - len(ids))
        if len(ids) > share:
            first = step * share % len(ids)
            in_turn = ids[first:] + ids[:first]
            held.update(in_turn[share:])
    return held


class FairScheduler(Scheduler):
    """Leaves requests out of a step by their keys; they keep their KV blocks and their places among those that run.

    While several keys count, a step has few tokens, so that no key waits long for a step of another's prefill.
    """

    running: list[Request]
    max_num_scheduled_tokens: int

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._last_steps: dict[str | None, float] = {}  # by key

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        if not self._has_several_keys():
            return super().schedule(throttle_prefills)
        held = held_back(self.running, self.current_step)
        before, most_tokens = self.running, self.max_num_scheduled_tokens
        self.running = [request for request in before if request.request_id not in held]
        self.max_num_active_reqs -= len(held)
        self.max_num_scheduled_tokens = min(most_tokens, STEP_TOKENS)
        try:
            return super().schedule(throttle_prefills)
        finally:
            self.max_num_scheduled_tokens = most_tokens
            self.max_num_active_reqs += len(held)
            old, new = {request.request_id for request in before}, {request.request_id for request in self.running}
            self.running = [
                *(request for request in before if request.request_id in held | new),
                *(request for request in self.running if request.request_id not in old),
            ]

    def _has_several_keys(self) -> bool:
        """True if requests of several keys run or wait, or did in the last LINGERING seconds."""
        now = time.monotonic()
        self._last_steps |= {request.cache_salt: now for request in (*self.running, *self.waiting)}
        self._last_steps = {key: last for key, last in self._last_steps.items() if now - last < LINGERING}
        return len(self._last_steps) > 1
