"""How long the tower was at each request, as vLLM's worker measures it with `--enable-mm-processor-stats`."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

MOST_KEPT = 4096  # seconds of requests that ended before they asked for theirs


class EncoderClock:
    """Fetches what the workers have measured, which they tell once, for all requests together.

    ask_workers: vLLM's collective call `get_encoder_timing_stats`.
    """

    def __init__(self, ask_workers: Callable[[], Awaitable[list[dict[str, dict[str, Any]]]]]) -> None:
        self._ask_workers = ask_workers
        self._seconds: OrderedDict[str, float] = OrderedDict()

    def ask(self) -> asyncio.Task[None]:
        """Begins to ask, for a request whose first token has come: its pictures are all encoded."""
        return asyncio.create_task(self._fetch())

    async def seconds_of(self, request_id: str, asking: asyncio.Task[None]) -> float:
        """Seconds of the tower for a request, the workers' largest; a share of each batch that it was in."""
        await asking  # those asked before it have been answered by then
        # The engine's own id of a request is the id that it was given, and a suffix.
        names = [name for name in self._seconds if name.startswith(request_id)]
        return sum(self._seconds.pop(name) for name in names)

    async def _fetch(self) -> None:
        seconds: dict[str, float] = {}
        for worker in await self._ask_workers():
            for name, measured in worker.items():
                seconds[name] = max(seconds.get(name, 0.0), float(measured["encoder_forward_secs"]))
        for name, more in seconds.items():
            self._seconds[name] = self._seconds.get(name, 0.0) + more
        while len(self._seconds) > MOST_KEPT:
            self._seconds.popitem(last=False)
