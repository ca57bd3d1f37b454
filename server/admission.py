"""Admission control: capacity is reserved from a request's arrival to its end, or refused at once."""

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

ACTIVE_SECONDS = 5.0  # a key keeps its share of the capacity this long after a request, or after it should ask again
LONGEST_RETRY = 60  # seconds


class Load(NamedTuple):
    """What requests take up of the server's capacity.

    Attributes:
        requests: number of requests.
        bytes: bytes of their bodies, and of files that have been fetched for them and are not decoded yet.
        visuals: images, video frames and camera views.
        visual_tokens: tokens that these become.

    """

    requests: int = 0
    bytes: int = 0
    visuals: int = 0
    visual_tokens: int = 0

    def plus(self, other: "Load") -> "Load":
        return Load(*map(operator.add, self, other))

    def minus(self, other: "Load") -> "Load":
        return Load(*map(operator.sub, self, other))

    def first_measure_over(self, capacity: "Load", share: float = 1.0) -> str | None:
        """The name of the first measure that exceeds this share of the capacity; None if all fit."""
        for measure, load, most in zip(self._fields, self, capacity, strict=True):
            if load > most * share:
                return measure
        return None


_GAUGES = [metrics.INFLIGHT.labels(measure) for measure in Load._fields]


class Reservation:
    """The capacity that one admitted request, or one fetched file, holds until its end.

    Attributes:
        key: digest of the API key that sent the request; empty without keys.
        load: what is reserved.

    """

    def __init__(self, admission: "Admission", key: str) -> None:
        self._admission, self.key = admission, key
        self.load = Load()

    def grow(self, **more: int) -> None:
        """Reserves more, by measures of `Load`.

        Raises Overloaded if there is no room now, LimitExceeded if there never would be.
        """
        self._admission.grow(self, Load(**more))


class Admission:
    """The capacity of one server, shared fairly among API keys.

    A single active key may use the whole capacity, up to `max_key_share` of it. Active are the keys that have requests
    in the server, sent one in the last ACTIVE_SECONDS, or were told to ask again and may yet do so. They have equal
    shares, and a key over its share is refused while others are active. A key with nothing in the server may have one
    request, if the server as a whole has room for it.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = Load(
            limits.max_requests,
            limits.max_inflight_bytes,
            limits.max_inflight_visuals,
            limits.max_inflight_visual_tokens,
        )
        self._max_key_share = limits.max_key_share
        self._clock = clock
        self.load = Load()
        self._load_by_key: dict[str, Load] = {}
        self._active_until: dict[str, float] = {}
        self._durations: deque[float] = deque([1.0], maxlen=32)

    @contextmanager
    def reserve(self, key: str, body_bytes: int) -> Iterator[Reservation]:
        """A reservation for one request of a key whose body is announced with this size.

        Raises as `Reservation.grow` does.
        """
        reservation, started = Reservation(self, key), self._clock()
        self._keep_share(key, started + ACTIVE_SECONDS)
        reservation.grow(requests=1, bytes=body_bytes)
        try:
            yield reservation
            self._durations.append(self._clock() - started)
        finally:
            self._release(reservation)

    @contextmanager
    def reserve_media(self, key: str) -> Iterator[Reservation]:
        """A reservation for a file that is fetched for a request of a key; it grows as the file's bytes come.

        It is not part of the request's, since requests of a key that want the same file share it, and the first of
        them may end before the others.
        """
        reservation = Reservation(self, key)
        try:
            yield reservation
        finally:
            self._release(reservation)

    def grow(self, reservation: Reservation, more: Load) -> None:
        """Adds to a reservation. Raises as `Reservation.grow` does, and then reserves nothing."""
        wanted = reservation.load.plus(more)
        everything = self.load.plus(more)
        is_alone = everything.requests <= 1  # and would not fit later either
        if (measure := (everything if is_alone else wanted).first_measure_over(self._capacity)) is not None:
            most = getattr(self._capacity, measure)
            raise LimitExceeded(f"the request takes more {_words(measure)} than the {most} this server has room for")
        if (measure := everything.first_measure_over(self._capacity)) is not None:
            raise self._overloaded(reservation.key, f"the server is full: its {_words(measure)} are all taken")
        of_key = self._load_by_key.get(reservation.key, Load()).plus(more)
        has_others = of_key.requests > 1
        if has_others and (measure := of_key.first_measure_over(self._capacity, self._share())) is not None:
            raise self._overloaded(reservation.key, f"this key has all the {_words(measure)} of its share in use")
        reservation.load = wanted
        self._change(reservation.key, more)

    def _release(self, reservation: Reservation) -> None:
        self._change(reservation.key, Load().minus(reservation.load))
        if self._load_by_key[reservation.key] == Load():
            del self._load_by_key[reservation.key]

    def _change(self, key: str, more: Load) -> None:
        self.load = self.load.plus(more)
        self._load_by_key[key] = self._load_by_key.get(key, Load()).plus(more)
        for gauge, load in zip(_GAUGES, self.load, strict=True):
            gauge.set(load)

    def _share(self) -> float:
        """The share of the capacity that each key may have now."""
        now = self._clock()
        self._active_until = {
            key: until for key, until in self._active_until.items() if until > now or key in self._load_by_key
        }
        return min(self._max_key_share, 1.0 / max(1, len(self._active_until)))

    def _keep_share(self, key: str, until: float) -> None:
        self._active_until[key] = max(until, self._active_until.get(key, until))

    def _overloaded(self, key: str, message: str) -> Overloaded:
        """The refusal of a key's request. What becomes free until the key asks again is not given to others."""
        typical = math.ceil(sum(self._durations) / len(self._durations))
        retry_after = min(LONGEST_RETRY, max(1, typical))
        self._keep_share(key, self._clock() + retry_after + ACTIVE_SECONDS)
        return Overloaded(message, retry_after=retry_after)


def _words(measure: str) -> str:
    return measure.replace("_", " ")
