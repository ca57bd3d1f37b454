"""Measures the server under ten times the load that it can bear.

`python -m llava_interleave_serve.benchmarks.server.overload [--seconds N]`

Starts the server with the demo checkpoint and a limit of 16 requests. First 16 clients each send a request as soon as
the last is answered (closed loop): this gives the capacity and the latency without overload. Then requests are sent at
ten times that rate, whatever became of those before (open loop). Each request names pictures of its own at an
`image_host`, which lists the pictures that were fetched. Prints one JSON line: latencies of refusals and of accepted
requests in both parts, whether a picture of a refused request was fetched, and the server's resources before and after.
"""

import argparse
import asyncio
import itertools
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

# aiohttp and not httpx, the client of the other scripts: at 474 requests a second httpx took more than a core of the
# two, and sent its last request 141 s late.
import aiohttp

from llava_interleave_serve.benchmarks.load.results.aggregate import spread
from llava_interleave_serve.benchmarks.openai_api import content_parts
from llava_interleave_serve.benchmarks.server import image_host, processes

MAX_REQUESTS = 16
QUESTION = "What does image 1 show?"


@dataclass
class Outcomes:
    """Outcomes of the requests of one part."""

    accepted: list[float] = field(default_factory=list)
    """Seconds to the end of each answer with 200."""
    refused: list[float] = field(default_factory=list)
    """Seconds to each 429."""
    refused_pictures: set[str] = field(default_factory=set)
    """The pictures' paths of the requests answered with 429."""
    without_retry_after: int = 0
    """Answers with 429 that have no Retry-After."""
    others: Counter[str] = field(default_factory=Counter)
    """Other statuses, and the names of connection errors."""


class ChatClient:
    """Sends chat requests about `images` pictures each, new ones each time, for an answer of `tokens` tokens."""

    def __init__(self, session: aiohttp.ClientSession, host: image_host.ImageHost, images: int, tokens: int) -> None:
        self._session, self._host, self._images, self._tokens = session, host, images, tokens
        self._numbers = itertools.count()

    async def send(self, outcomes: Outcomes) -> None:
        """Sends one request, waits for the end of its answer, and adds what became of it to `outcomes`."""
        number = next(self._numbers)
        names = [f"/{number}-{index}.png" for index in range(self._images)]
        parts = [content_parts.image_part(self._host.url + name) for name in names]
        parts.append(content_parts.text_part(QUESTION))
        body = {
            "messages": [{"role": "user", "content": parts}],
            "max_tokens": self._tokens,
            "temperature": 0,
            "ignore_eos": True,
        }
        start = time.perf_counter()
        try:
            async with self._session.post("/v1/chat/completions", json=body) as response:
                await response.read()
        except aiohttp.ClientError as error:
            outcomes.others[type(error).__name__] += 1
            return
        elapsed = time.perf_counter() - start
        if response.status == HTTPStatus.OK:
            outcomes.accepted.append(elapsed)
        elif response.status == HTTPStatus.TOO_MANY_REQUESTS:
            outcomes.refused.append(elapsed)
            outcomes.refused_pictures.update(names)
            outcomes.without_retry_after += "retry-after" not in response.headers
        else:
            outcomes.others[str(response.status)] += 1


async def closed_loop(client: ChatClient, seconds: float) -> tuple[Outcomes, float]:
    """Sends from MAX_REQUESTS clients, each as soon as its last is answered. Returns also answers a second."""
    outcomes, start = Outcomes(), time.perf_counter()

    async def send_until_the_end() -> None:
        while time.perf_counter() - start < seconds:
            await client.send(outcomes)

    await asyncio.gather(*(send_until_the_end() for _ in range(MAX_REQUESTS)))
    return outcomes, len(outcomes.accepted) / (time.perf_counter() - start)


async def open_loop(client: ChatClient, rate: float, seconds: float) -> tuple[Outcomes, float]:
    """Sends `rate` requests a second. Returns also the most seconds by which a request was sent late."""
    outcomes, most_late = Outcomes(), 0.0
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            most_late = max(most_late, time.perf_counter() - due)
            group.create_task(client.send(outcomes))
    return outcomes, most_late


def milliseconds(values: list[float]) -> dict[str, float] | None:
    """p50 and p99 in milliseconds of values in seconds; None if there are none."""
    quantiles = spread(values)
    return None if quantiles is None else {"p50": round(1e3 * quantiles.p50, 1), "p99": round(1e3 * quantiles.p99, 1)}


async def run(server: processes.Server, host: image_host.ImageHost, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures both parts and returns the report."""
    connector = aiohttp.TCPConnector(limit=0)  # as many connections as there are requests under way
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(server.url, connector=connector, timeout=timeout) as session:
        client = ChatClient(session, host, arguments.images, arguments.tokens)
        await closed_loop(client, 3.0)
        before = server.resources()
        normal, capacity = await closed_loop(client, arguments.seconds / 4)
        overload, most_late = await open_loop(client, arguments.times * capacity, arguments.seconds)
    await asyncio.sleep(2.0)
    without, within = spread(normal.accepted), spread(overload.accepted)
    return {
        "capacity_per_second": round(capacity, 2),
        "offered_per_second": round(arguments.times * capacity, 1),
        "sent_late_ms": round(1e3 * most_late, 1),
        "accepted": len(overload.accepted),
        "refused": len(overload.refused),
        "others": overload.others,
        "refusal_ms": milliseconds(overload.refused),
        "refused_without_retry_after": overload.without_retry_after,
        "refused_but_fetched": len(overload.refused_pictures & host.served),
        "accepted_ms_without": milliseconds(normal.accepted),
        "accepted_ms_within": milliseconds(overload.accepted),
        "accepted_median_ratio": round(within.p50 / without.p50, 3) if within and without else None,
        "before": before,
        "after": server.resources(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="of the overload (%(default)s)")
    parser.add_argument("--times", type=float, default=10.0, help="the capacity, the rate of requests (%(default)s)")
    parser.add_argument("--images", type=int, default=8, help="of a request (%(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="of an answer (%(default)s)")
    arguments = parser.parse_args()
    command = processes.own_command("--max-requests", str(MAX_REQUESTS), "--allowed-media-hosts", "127.0.0.1")
    with image_host.running_host() as host, processes.running_server(command) as server:
        print(json.dumps(asyncio.run(run(server, host, arguments))))


if __name__ == "__main__":
    main()
