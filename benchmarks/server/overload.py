"""What ten times the load that it can bear does to the server.

`python -m llava_interleave_serve.benchmarks.server.overload [--seconds N]`

Starts the server with the demo checkpoint and room for 16 requests. First 16 clients ask one after the other: the
capacity, and how long an answer takes. Then requests come ten times as fast as they were answered, whatever happens to
those before. Each names pictures of its own at a host here, which tells what was fetched. Prints one JSON line: how
soon refusals came, how long accepted requests took beside the first part, whether a refused request's picture was
fetched, and what the server held before and after.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp

from llava_interleave_serve.benchmarks.openai_api import content_parts
from llava_interleave_serve.benchmarks.server import image_host, processes

ROOM = 16
QUESTION = "What does image 1 show?"


@dataclass
class Seen:
    """Seconds to each answer that was accepted and each refusal; the pictures of those refused; other outcomes."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    refused_pictures: set[str] = field(default_factory=set)
    without_retry_after: int = 0
    others: dict[str, int] = field(default_factory=dict)


class Asker:
    """Asks about so many pictures, new ones each time, for an answer of so many tokens."""

    def __init__(self, client: aiohttp.ClientSession, host: image_host.PicturesHost, images: int, tokens: int) -> None:
        self._client, self._host, self._images, self._tokens = client, host, images, tokens
        self._numbers = itertools.count()

    async def ask(self, seen: Seen) -> None:
        number = next(self._numbers)
        names = [f"/{number}-{at}.png" for at in range(self._images)]
        parts = [content_parts.image_part(self._host.url + name) for name in names]
        parts.append(content_parts.text_part(QUESTION))
        body = {
            "messages": [{"role": "user", "content": parts}],
            "max_tokens": self._tokens,
            "temperature": 0,
            "ignore_eos": True,
        }
        started = time.perf_counter()
        try:
            async with self._client.post("/v1/chat/completions", json=body) as answer:
                await answer.read()
        except aiohttp.ClientError as error:
            seen.others[type(error).__name__] = seen.others.get(type(error).__name__, 0) + 1
            return
        took = time.perf_counter() - started
        if answer.status == HTTPStatus.OK:
            seen.accepted.append(took)
        elif answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            seen.refused.append(took)
            seen.refused_pictures.update(names)
            seen.without_retry_after += "retry-after" not in answer.headers
        else:
            key = str(answer.status)
            seen.others[key] = seen.others.get(key, 0) + 1


async def closed(asker: Asker, seconds: float) -> tuple[Seen, float]:
    """ROOM clients, each asking anew once it is answered; what was seen, and answers a second."""
    seen, started = Seen(), time.perf_counter()

    async def client() -> None:
        while time.perf_counter() - started < seconds:
            await asker.ask(seen)

    await asyncio.gather(*(client() for _ in range(ROOM)))
    return seen, len(seen.accepted) / (time.perf_counter() - started)


async def opened(asker: Asker, rate: float, seconds: float) -> tuple[Seen, float]:
    """Requests at a fixed rate; what was seen, and the most seconds by which one was sent late."""
    seen, late = Seen(), 0.0
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            late = max(late, time.perf_counter() - due)
            group.create_task(asker.ask(seen))
    return seen, late


def percentile(values: list[float], share: float) -> float:
    return round(1e3 * sorted(values)[min(len(values) - 1, int(share * len(values)))], 1)


async def run(server: processes.Server, host: image_host.PicturesHost, arguments: argparse.Namespace) -> dict[str, Any]:
    connector = aiohttp.TCPConnector(limit=0)  # as many connections as there are requests under way
    patience = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(server.url, connector=connector, timeout=patience) as client:
        asker = Asker(client, host, arguments.images, arguments.tokens)
        await closed(asker, 3.0)
        before = server.resources()
        normal, capacity = await closed(asker, arguments.seconds / 4)
        crowd, late = await opened(asker, arguments.times * capacity, arguments.seconds)
    await asyncio.sleep(2.0)
    ratio = statistics.median(crowd.accepted) / statistics.median(normal.accepted)
    return {
        "capacity_per_second": round(capacity, 2),
        "offered_per_second": round(arguments.times * capacity, 1),
        "sent_late_ms": round(1e3 * late, 1),
        "accepted": len(crowd.accepted),
        "refused": len(crowd.refused),
        "others": crowd.others,
        "refusal_ms": {"p50": percentile(crowd.refused, 0.5), "p99": percentile(crowd.refused, 0.99)},
        "refused_without_retry_after": crowd.without_retry_after,
        "refused_but_fetched": len(crowd.refused_pictures & host.served),
        "accepted_ms_without": {"p50": percentile(normal.accepted, 0.5), "p99": percentile(normal.accepted, 0.99)},
        "accepted_ms_within": {"p50": percentile(crowd.accepted, 0.5), "p99": percentile(crowd.accepted, 0.99)},
        "accepted_median_ratio": round(ratio, 3),
        "before": before,
        "after": server.resources(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="of the overload (%(default)s)")
    parser.add_argument("--times", type=float, default=10.0, help="how much more comes than can be borne (%(default)s)")
    parser.add_argument("--images", type=int, default=8, help="a request (%(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="an answer (%(default)s)")
    arguments = parser.parse_args()
    options = ["--max-requests", str(ROOM), "--allowed-media-hosts", "127.0.0.1"]
    with image_host.running() as host, processes.running(processes.ours(*options)) as server:
        print(json.dumps(asyncio.run(run(server, host, arguments))))


if __name__ == "__main__":
    main()
