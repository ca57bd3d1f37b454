"""vLLM's scheduler on a CPU, where what a step costs grows with its sequences, fair to several API keys."""

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request

KEY_SEQUENCES = 4  # of a key, at least, in each step
# Seconds for which a key counts as one of several after its last step: its next request, as long as it is on its way
# here, shares the processors with the steps of the others.
LINGERING = 0.5


def held_back(running: Sequence[Request], step: int, *, has_others: bool) -> set[str]:
    """The ids of the running requests that are left out of a step.

    Of one key, at most KEY_SEQUENCES run in a step, or as many as of all other keys together if that is more; all of
    them where no other key counts. They have their turns: the next steps begin where this one ended.

    running: requests of several keys have different cache salts.
    has_others: True if several keys count, whether requests of all of them run or not.
    """
    by_key: defaultdict[str | None, list[str]] = defaultdict(list)
    for request in running:
        by_key[request.cache_salt].append(request.request_id)
    held: set[str] = set()
    for ids in by_key.values():
        share = max(KEY_SEQUENCES, len(running) - len(ids))
        if has_others and len(ids) > share:
            first = step * share % len(ids)
            in_turn = ids[first:] + ids[:first]
            held.update(in_turn[share:])
    return held


class FairScheduler(Scheduler):
    """Leaves requests out of a step by their keys; they keep their KV blocks and their places among those that run."""

    running: list[Request]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._last_steps: dict[str | None, float] = {}  # by key

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        now = time.monotonic()
        self._last_steps |= {request.cache_salt: now for request in self.running}
        self._last_steps = {key: last for key, last in self._last_steps.items() if now - last < LINGERING}
        held = held_back(self.running, self.current_step, has_others=len(self._last_steps) > 1)
        if not held:
            return super().schedule(throttle_prefills)
        before = self.running
        self.running = [request for request in before if request.request_id not in held]
        self.max_num_active_reqs -= len(held)
        try:
            return super().schedule(throttle_prefills)
        finally:
            self.max_num_active_reqs += len(held)
            old, new = {request.request_id for request in before}, {request.request_id for request in self.running}
            self.running = [
                *(request for request in before if request.request_id in held | new),
                *(request for request in self.running if request.request_id not in old),
            ]
