"""Room for requests: counted from a request's arrival to its end, and refused at once where there is none."""

import math
import operator
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from llava_interleave_serve.server.errors import LimitExceeded, Overloaded
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.observability import metrics

ACTIVE_SECONDS = 5.0  # a key that asked so lately has its share of the room kept for it
LONGEST_RETRY = 60


class Load(NamedTuple):
    """What requests take up: their number, bytes of their bodies, visuals and visual tokens."""

    requests: int = 0
    bytes: int = 0
    visuals: int = 0
    visual_tokens: int = 0

    def plus(self, other: "Load") -> "Load":
        return Load(*map(operator.add, self, other))

    def minus(self, other: "Load") -> "Load":
        return Load(*map(operator.sub, self, other))

    def beyond(self, room: "Load", share: float = 1.0) -> str | None:
        """The first of its measures that is larger than that share of the room."""
        for measure, taken, most in zip(self._fields, self, room, strict=True):
            if taken > most * share:
                return measure
        return None


_GAUGES = [metrics.INFLIGHT.labels(measure) for measure in Load._fields]


class Place:
    """What one admitted request holds of the room."""

    def __init__(self, admission: "Admission", key: str) -> None:
        self._admission, self.key = admission, key
        self.load = Load()

    def take(self, **more: int) -> None:
        """Takes more room (of Load's measures) until the request's end.

        Raises Overloaded where there is none now, LimitExceeded where there never would be.
        """
        self._admission.grow(self, Load(**more))


class Admission:
    """The room of one server, shared fairly among API keys.

    A key alone may fill the room, up to `max_key_share` of it. Keys that have requests in the server, or asked in the
    last ACTIVE_SECONDS, have equal shares, and one over its share is refused while others are about. A key that has
    nothing in the server may always have one request, if the room as a whole has space for it.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._room = Load(
            limits.max_requests,
            limits.max_inflight_bytes,
            limits.max_inflight_visuals,
            limits.max_inflight_visual_tokens,
        )
        self._most_share = limits.max_key_share
        self._clock = clock
        self.load = Load()
        self._of_key: dict[str, Load] = {}
        self._asked: dict[str, float] = {}
        self._durations: deque[float] = deque([1.0], maxlen=32)

    @contextmanager
    def enter(self, key: str, size: int) -> Iterator[Place]:
        """A place for a request of a key whose body is said to have `size` bytes. Raises as `Place.take`."""
        place, started = Place(self, key), self._clock()
        self._asked[key] = started
        place.take(requests=1, bytes=size)
        try:
            yield place
            self._durations.append(self._clock() - started)
        finally:
            self._release(place)

    def grow(self, place: Place, more: Load) -> None:
        wanted = place.load.plus(more)
        if (measure := wanted.beyond(self._room)) is not None:
            most = getattr(self._room, measure)
            raise LimitExceeded(f"the request takes more {_words(measure)} than the {most} this server has room for")
        if (measure := self.load.plus(more).beyond(self._room)) is not None:
            raise self._overloaded(f"the server is full: its {_words(measure)} are all taken")
        mine = self._of_key.get(place.key, Load())
        alone = mine == place.load  # all that the key has in the server is this request
        if not alone and (measure := mine.plus(more).beyond(self._room, self._share())) is not None:
            raise self._overloaded(f"this key has all the {_words(measure)} of its share in use")
        place.load = wanted
        self._change(place.key, more)

    def _release(self, place: Place) -> None:
        self._change(place.key, Load().minus(place.load))
        if self._of_key[place.key] == Load():
            del self._of_key[place.key]

    def _change(self, key: str, more: Load) -> None:
        self.load = self.load.plus(more)
        self._of_key[key] = self._of_key.get(key, Load()).plus(more)
        for gauge, taken in zip(_GAUGES, self.load, strict=True):
            gauge.set(taken)

    def _share(self) -> float:
        """The share of the room that a key may have now."""
        since = self._clock() - ACTIVE_SECONDS
        self._asked = {key: at for key, at in self._asked.items() if at >= since or key in self._of_key}
        return min(self._most_share, 1.0 / max(1, len(self._asked)))

    def _overloaded(self, message: str) -> Overloaded:
        typical = math.ceil(sum(self._durations) / len(self._durations))
        return Overloaded(message, retry_after=min(LONGEST_RETRY, max(1, typical)))


def _words(measure: str) -> str:
    return measure.replace("_", " ")
