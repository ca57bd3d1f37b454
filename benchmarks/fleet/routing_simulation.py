"""What routing by session, by first medium and at random leaves of the replicas' caches, simulated.

`python -m llava_interleave_serve.benchmarks.fleet.routing_simulation [--kept N] [--seed N]`

The first table: requests of a preset, with the shares of repeated media that the preset states, from so many clients
that every replica has the same load whatever their number. A replica keeps the last 64 visuals, or --kept.
Printed is the share of all visuals that their replica still had, beside the share that any replica had seen before.

The second: keys of which a few are asked for far more often than others (Zipf, exponent 1.1), four for each replica and
16 requests in flight at a time for each. Printed are the load of the fullest replica as a multiple of the mean, and the
share of requests whose replica had served their key among its last 8 keys; for a plain ring, and for rings that spill
at 1.5 and 1.25 times the mean (Envoy's hash_balance_factor of 150 and 125).
"""

import argparse
import hashlib
import itertools
import math
import random
from bisect import bisect
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from llava_interleave_serve.benchmarks.load.requests.conversations import REMEMBERED
from llava_interleave_serve.benchmarks.load.workload import schema
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass, Workload
from llava_interleave_serve.benchmarks.reporting.text_tables import markdown

REPLICAS = (1, 8, 64, 512)
KEPT = 64  # visuals that a replica keeps, unless told otherwise
KEYS_KEPT = 8  # of which a replica has what they share
CLIENTS, ROUNDS = 4, 60  # clients of each replica, and requests of each client
POINTS = 128  # of each replica on the ring
KEYS, IN_FLIGHT, REQUESTS = 4, 16, 400  # of each replica
EXPONENT = 1.1

Visual = tuple[int, ...]
Request = tuple[str, list[Visual]]  # session, visuals


class Ring:
    """Replicas on a hash ring, each at POINTS points."""

    def __init__(self, replicas: int) -> None:
        points = sorted(
            (_hash(f"{replica} {point}"), replica) for replica in range(replicas) for point in range(POINTS)
        )
        self._hashes = [point for point, _ in points]
        self._replicas = [replica for _, replica in points]

    def replicas_of(self, key: str) -> Iterator[int]:
        """The replica of a key, and those that come after it on the ring."""
        start = bisect(self._hashes, _hash(key))
        for step in range(len(self._replicas)):
            yield self._replicas[(start + step) % len(self._replicas)]

    def replica_of(self, key: str) -> int:
        """The replica of a key."""
        return next(self.replicas_of(key))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


class Client:
    """One source of conversations of a workload, which repeats its own as the load test's generators do."""

    def __init__(self, workload: Workload, number: int, rng: random.Random) -> None:
        self._workload, self._number, self._rng = workload, number, rng
        self._weights = [each.weight for each in workload.classes]
        self._earlier: dict[str, deque[tuple[str, list[Visual]]]] = {
            each.name: deque(maxlen=REMEMBERED) for each in workload.classes
        }
        self._media = itertools.count()

    def requests(self) -> Iterator[Request]:
        """The requests of one conversation after the other, without end."""
        while True:
            request_class = self._rng.choices(self._workload.classes, self._weights)[0]
            session, visuals = self._conversation(request_class)
            for _ in range(self._rng.choice(request_class.turns)):
                yield session, visuals

    def _conversation(self, request_class: RequestClass) -> tuple[str, list[Visual]]:
        earlier, position = self._earlier[request_class.name], self._rng.random()
        for repeat, share in request_class.repeat.shares.items():
            if position < share and earlier:
                index = self._rng.randrange(len(earlier))
                session, visuals = earlier[index]
                if repeat == "order":
                    visuals = self._rng.sample(visuals, len(visuals))
                elif repeat == "sliding":
                    slide = request_class.repeat.slide
                    visuals = [(client, medium, frame + slide) for client, medium, frame in visuals]
                    earlier[index] = session, visuals
                return session, visuals
            position -= share
        count = 0 if request_class.kind == "text" else self._rng.choice(request_class.visuals)
        medium = next(self._media)
        visuals = [(self._number, medium, frame) for frame in range(count)]
        session = f"{self._number} {medium}"
        earlier.append((session, visuals))
        return session, visuals


def stream(workload: Workload, replicas: int, rng: random.Random) -> Iterator[Request]:
    """Requests of all clients, each of which sends one a round."""
    clients = [Client(workload, number, rng).requests() for number in range(CLIENTS * replicas)]
    for _ in range(ROUNDS):
        rng.shuffle(clients)
        for client in clients:
            yield next(client)


class Cache:
    """The last items of a replica."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[object, None] = OrderedDict()

    def take(self, item: object) -> bool:
        """True if the item was there. It is the last one from then on."""
        found = item in self._items
        self._items[item] = None
        self._items.move_to_end(item)
        if len(self._items) > self._size:
            self._items.popitem(last=False)
        return found


def hit_rates(workload: Workload, replicas: int, kept: int, seed: int) -> dict[str, float]:
    """The shares of visuals that the replica had, by the way of routing, and under `seen` that any had seen."""
    ring, rng = Ring(replicas), random.Random(seed)
    routes: dict[str, Callable[[Request], int]] = {
        "session": lambda request: ring.replica_of(request[0]),
        "medium": lambda request: ring.replica_of(str(request[1][0])) if request[1] else rng.randrange(replicas),
        "random": lambda _: rng.randrange(replicas),
    }
    caches = {name: [Cache(kept) for _ in range(replicas)] for name in routes}
    hits, seen, visuals = dict.fromkeys([*routes, "seen"], 0), set[Visual](), 0
    for request in stream(workload, replicas, random.Random(seed)):
        visuals += len(request[1])
        for name, route in routes.items():
            cache = caches[name][route(request)]
            hits[name] += sum(cache.take(visual) for visual in request[1])
        hits["seen"] += sum(visual in seen for visual in request[1])
        seen.update(request[1])
    return {name: count / max(1, visuals) for name, count in hits.items()}


def hot_keys(replicas: int, bound: float, seed: int) -> tuple[float, float]:
    """The fullest replica's load over the mean, and the share of requests whose replica had their key.

    bound: multiple of the mean load at which a replica's requests go to the next one of the ring; inf for none.
    """
    ring, rng = Ring(replicas), random.Random(seed)
    weights = list(itertools.accumulate(1 / rank**EXPONENT for rank in range(1, KEYS * replicas + 1)))
    running: deque[int] = deque()
    load = [0] * replicas
    caches = [Cache(KEYS_KEPT) for _ in range(replicas)]
    peaks, met = [], 0
    keys = rng.choices(range(KEYS * replicas), cum_weights=weights, k=REQUESTS * replicas)
    for number, key in enumerate(keys):
        if len(running) == IN_FLIGHT * replicas:
            load[running.popleft()] -= 1
            if number % replicas == 0:
                peaks.append(max(load))
        most = math.ceil(bound * (len(running) + 1) / replicas) if bound < math.inf else math.inf
        replica = next(each for each in ring.replicas_of(str(key)) if load[each] < most)
        met += caches[replica].take(key)
        load[replica] += 1
        running.append(replica)
    return sum(peaks) / len(peaks) / IN_FLIGHT, met / (REQUESTS * replicas)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=int, default=KEPT)
    arguments = parser.parse_args()
    seed = arguments.seed
    rows = []
    for name in schema.preset_names():
        workload = schema.load(name)
        if all(each.kind == "text" for each in workload.classes):
            continue
        for replicas in REPLICAS:
            rates = hit_rates(workload, replicas, arguments.kept, seed)
            rows.append(
                [name, str(replicas), *(f"{rates[way]:.2f}" for way in ("seen", "session", "medium", "random"))]
            )
    print(markdown(["preset", "replicas", "seen before", "by session", "by first medium", "random"], rows), end="\n\n")
    rows = []
    for replicas in REPLICAS[1:]:
        cells = [hot_keys(replicas, bound, seed) for bound in (math.inf, 1.5, 1.25)]
        rows.append([str(replicas), *(f"{peak:.1f} / {met:.2f}" for peak, met in cells)])
    print(markdown(["replicas", "plain ring", "spills at 1.5", "spills at 1.25"], rows))


if __name__ == "__main__":
    main()
