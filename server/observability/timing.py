"""Where a request's time goes: its phases, measured as they happen."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# In the order in which a request passes them. `decode` is the media's; `decode_tokens` the model's, after the first.
NAMES = ("admission", "fetch", "decode", "preprocess", "queue", "encode", "prefill", "decode_tokens")


class Phases:
    """The stretches of time of one request, in seconds of time.monotonic, which the engine's process shares.

    Parts are fetched and decoded at the same time, in several threads: a phase lasts as long as any part is in it.
    """

    def __init__(self) -> None:
        self.started = time.monotonic()
        self._stretches: dict[str, list[tuple[float, float]]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Adds the time that the block takes, however it ends."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.add(name, started, time.monotonic())

    def add(self, name: str, start: float, end: float) -> None:
        with self._lock:
            self._stretches.setdefault(name, []).append((start, end))

    def until_now(self, name: str) -> None:
        """Adds the time since the request's arrival."""
        self.add(name, self.started, time.monotonic())

    def replace(self, name: str, start: float, end: float) -> None:
        """Sets a phase that is told anew as it goes on."""
        with self._lock:
            self._stretches[name] = [(start, end)]

    def join(self, other: "Phases") -> None:
        """Adds the stretches of work that was done for several requests."""
        for name, stretches in other._stretches.items():
            for start, end in stretches:
                self.add(name, start, end)

    def spans(self) -> dict[str, tuple[float, float]]:
        """From when to when each phase went on, in the order of NAMES."""
        return {
            name: (min(start for start, _ in found), max(end for _, end in found))
            for name in NAMES
            if (found := self._stretches.get(name))
        }

    def seconds(self) -> dict[str, float]:
        """How long each phase lasted, overlaps counted once, in the order of NAMES."""
        return {name: _union(self._stretches[name]) for name in NAMES if self._stretches.get(name)}

    def milliseconds(self) -> dict[str, float]:
        """`seconds` for clients, and the `total` since the request's arrival."""
        found = self.seconds() | {"total": time.monotonic() - self.started}
        return {name: round(seconds * 1e3, 3) for name, seconds in found.items()}

    def header(self) -> str:
        """The value of a Server-Timing header (https://www.w3.org/TR/server-timing/)."""
        return ", ".join(f"{name};dur={milliseconds:g}" for name, milliseconds in self.milliseconds().items())


def _union(stretches: list[tuple[float, float]]) -> float:
    total, until = 0.0, float("-inf")
    for start, end in sorted(stretches):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
