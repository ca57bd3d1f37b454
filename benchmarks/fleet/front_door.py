"""Measures what Envoy adds to a request: the same requests to a server and through Envoy before it, in turns.

`python -m llava_interleave_serve.benchmarks.fleet.front_door [--rounds N] [--streams N]`

Starts a server of the bundled demo, and Envoy as deploy/envoy.yaml has it before that server alone. Prints Markdown
tables. Of requests: the least and the median milliseconds of each way. `/health` has no body; the bodies end in a 400
once they have been read and parsed, so that no time of the engine's is in them, and Envoy makes its key of their
medium; the answer is one about a picture. Of streams: milliseconds to the first token, the least and the median, the
median gap between events, and the longest gap of the median stream.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from llava_interleave_serve.benchmarks.fleet import envoy, questions, replica
from llava_interleave_serve.benchmarks.fleet.crowd import CHAT
from llava_interleave_serve.benchmarks.openai_api import content_parts, sse
from llava_interleave_serve.benchmarks.reporting import text_tables

SIZES = {"10 kB": 10_000, "1 MB": 1_000_000, "8 MB": 8_000_000, "60 MB": 60_000_000}
LARGE = 8_000_000  # bytes from which a body is sent less often
TOKENS = 64  # of a stream
JSON = {"Content-Type": "application/json"}
Way = tuple[str, httpx.AsyncClient]


def refused_body(size: int) -> bytes:
    """A request of about so many bytes, most of them a medium, that the server refuses for a field that it has not."""
    part = content_parts.image_part("data:image/png;base64," + "A" * (size - 150))
    return json.dumps({"messages": [{"role": "user", "content": [part]}], "unheard_of": 1}).encode()


async def in_turns(
    ways: Sequence[Way], method: str, path: str, content: bytes, *, status: int, rounds: int
) -> dict[str, list[float]]:
    """The milliseconds of each request by way; the ways take turns, and each goes first in every other round.

    Raises RuntimeError for another status.
    """
    milliseconds: dict[str, list[float]] = {name: [] for name, _ in ways}
    for number in range(-2, rounds):  # the first two are not counted: connections are made, and code is loaded
        for name, client in ways if number % 2 else reversed(ways):
            request = client.build_request(method, path, content=content, headers=JSON if content else {})
            start = time.perf_counter()
            response = await client.send(request)
            took = (time.perf_counter() - start) * 1e3
            if response.status_code != status:
                raise RuntimeError(f"{name}: {response.status_code} {response.text[:500]}")
            if number >= 0:
                milliseconds[name].append(took)
    return milliseconds


async def requests(ways: Sequence[Way], rounds: int) -> list[list[str]]:
    """Rows of what requests take."""
    answered = json.dumps(questions.question(0)).encode()  # kept by the caches after the first round
    measured = {"`/health`": await in_turns(ways, "GET", "/health", b"", status=200, rounds=rounds)}
    for name, size in SIZES.items():
        times = rounds if size < LARGE else max(1, rounds // 10)
        measured[f"body of {name}"] = await in_turns(ways, "POST", CHAT, refused_body(size), status=400, rounds=times)
    measured["answer"] = await in_turns(ways, "POST", CHAT, answered, status=200, rounds=rounds // 4)
    rows = []
    for name, milliseconds in measured.items():
        figures = [(min(times), statistics.median(times)) for times in milliseconds.values()]
        figures.append((figures[1][0] - figures[0][0], figures[1][1] - figures[0][1]))
        rows.append([name, *(f"{least:.2f} / {median:.2f}" for least, median in figures)])
    return rows


async def stream(client: httpx.AsyncClient) -> tuple[float, list[float]]:
    """The milliseconds to the first token of a streamed answer, and those between its further events."""
    body = questions.long_answer(0, TOKENS, stream=True)
    start = time.perf_counter()
    async with client.stream("POST", CHAT, json=body) as response:
        times = [
            (event.time - start) * 1e3
            async for event in sse.completion_chunks(response.aiter_bytes())
            if any(choice["delta"].get("content") for choice in event.data["choices"])
        ]
    return times[0], [after - before for before, after in itertools.pairwise(times)]


async def streams(ways: Sequence[Way], count: int) -> list[list[str]]:
    """Rows of what streams take."""
    seen: dict[str, list[tuple[float, list[float]]]] = {name: [] for name, _ in ways}
    for number in range(-1, count):
        for name, client in ways if number % 2 else reversed(ways):
            one = await stream(client)
            if number >= 0:
                seen[name].append(one)
    rows = []
    for name, each in seen.items():
        first = [ttft for ttft, _ in each]
        gap = statistics.median(gap for _, between in each for gap in between)
        longest = statistics.median(max(between) for _, between in each)
        rows.append([name, f"{min(first):.1f} / {statistics.median(first):.1f}", f"{gap:.2f}", f"{longest:.2f}"])
    return rows


async def measure(urls: dict[str, str], rounds: int, count: int) -> None:
    """Prints both tables."""
    clients = {name: httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) for name, url in urls.items()}
    ways = list(clients.items())
    print(text_tables.markdown(["request", *urls, "added"], await requests(ways, rounds)))
    print(text_tables.markdown(["stream", "first token", "gap", "longest"], await streams(ways, count)))
    for client in clients.values():
        await client.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--streams", type=int, default=30)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        replica.running() as server,
        envoy.before([replica.port_of(server)], Path(folder)) as front,
    ):
        asyncio.run(measure({"server": server.url, "Envoy": front.url}, arguments.rounds, arguments.streams))


if __name__ == "__main__":
    main()
