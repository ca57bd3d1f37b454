"""Seconds since a run began."""

import asyncio
import time


class Clock:
    """Reads 0 at `begin`."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def begin(self) -> None:
        self._start = time.perf_counter()

    def now(self) -> float:
        return time.perf_counter() - self._start

    async def sleep_until(self, due: float) -> None:
        """Returns at `due`, or at once if it has passed."""
        wait = due - self.now()
        if wait > 0:
            await asyncio.sleep(wait)
