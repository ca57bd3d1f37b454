"""The times at which the phases of a request began and ended, noted as they happen."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# In the order in which a request passes them. `decode` is the decoding of media; `decode_tokens` the model's decode.
PHASES = ("admission", "fetch", "decode", "preprocess", "queue", "encode", "prefill", "decode_tokens")


class RequestTiming:
    """The intervals of one request's phases, in seconds of time.monotonic, which the engine's process shares.

    Parts are fetched and decoded at the same time, in several threads: a phase lasts as long as any part is in it.
    """

    def __init__(self) -> None:
        self.started = time.monotonic()
        self._intervals: dict[str, list[tuple[float, float]]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """Adds the duration of the block to a phase, however the block ends."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.add(phase, started, time.monotonic())

    def add(self, phase: str, start: float, end: float) -> None:
        """Adds an interval to a phase."""
        with self._lock:
            self._intervals.setdefault(phase, []).append((start, end))

    def add_since_arrival(self, phase: str) -> None:
        """Adds the interval from the request's arrival until now."""
        self.add(phase, self.started, time.monotonic())

    def replace(self, phase: str, start: float, end: float) -> None:
        """Sets the one interval of a phase that is reported again while it goes on."""
        with self._lock:
            self._intervals[phase] = [(start, end)]

    def merge(self, other: "RequestTiming") -> None:
        """Adds the intervals of work that was shared by several requests."""
        for phase, intervals in other._intervals.items():
            for start, end in intervals:
                self.add(phase, start, end)

    def intervals(self) -> dict[str, list[tuple[float, float]]]:
        """The intervals of each phase."""
        return self._intervals

    def spans(self) -> dict[str, tuple[float, float]]:
        """The first start and the last end of each phase, in the order of PHASES."""
        return {
            phase: (min(start for start, _ in intervals), max(end for _, end in intervals))
            for phase in PHASES
            if (intervals := self._intervals.get(phase))
        }

    def seconds(self) -> dict[str, float]:
        """The duration of each phase in the order of PHASES; overlapping intervals count once."""
        return {phase: _union(self._intervals[phase]) for phase in PHASES if self._intervals.get(phase)}

    def milliseconds(self) -> dict[str, float]:
        """`seconds` in milliseconds, and under `total` the time since the request's arrival."""
        seconds = self.seconds() | {"total": time.monotonic() - self.started}
        return {phase: round(duration * 1e3, 3) for phase, duration in seconds.items()}

    def header(self) -> str:
        """The value of a Server-Timing header (https://www.w3.org/TR/server-timing/)."""
        return ", ".join(f"{phase};dur={milliseconds:g}" for phase, milliseconds in self.milliseconds().items())


def _union(intervals: list[tuple[float, float]]) -> float:
    """The time that the intervals cover together, in seconds."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
