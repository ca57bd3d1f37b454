"""Seconds of the vision tower by request, as vLLM's workers measure them with `--enable-mm-processor-stats`."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

CHOICE = re.compile(r"^\d+_")  # the number of a choice, before its request's id: vllm.v1.engine.parallel_sampling
MOST_REQUESTS = 4096  # whose seconds are kept until they are read; the oldest go first


class EncoderTiming:
    """The tower's seconds by request id.

    A worker's timing call returns and clears the figures of all requests, so they are collected here and handed out by
    request id.

    call_workers: vLLM's collective call `get_encoder_timing_stats`.
    """

    def __init__(self, call_workers: Callable[[], Awaitable[list[dict[str, dict[str, Any]]]]]) -> None:
        self._call_workers = call_workers
        self._seconds: OrderedDict[str, float] = OrderedDict()

    def start_collecting(self) -> asyncio.Task[None]:
        """Starts a call to the workers, for a request whose first token has come: its media have been encoded."""
        return asyncio.create_task(self._collect())

    async def seconds_of(self, request_id: str, collecting: asyncio.Task[None]) -> float:
        """Seconds of the tower for a request: its share of each batch, on the slowest worker.

        collecting: the task that was started for this request. Calls started before it have been answered by its end.
        """
        await collecting
        # The engine's own id of a request is the id that it was given, and a suffix; a choice's has its number first.
        matching = [engine_id for engine_id in self._seconds if CHOICE.sub("", engine_id).startswith(request_id)]
        return sum(self._seconds.pop(engine_id) for engine_id in matching)

    async def _collect(self) -> None:
        slowest: dict[str, float] = {}
        for worker in await self._call_workers():
            for engine_id, stats in worker.items():
                slowest[engine_id] = max(slowest.get(engine_id, 0.0), float(stats["encoder_forward_secs"]))
        for engine_id, seconds in slowest.items():
            self._seconds[engine_id] = self._seconds.get(engine_id, 0.0) + seconds
        while len(self._seconds) > MOST_REQUESTS:
            self._seconds.popitem(last=False)
