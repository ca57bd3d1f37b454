"""Measures how much one hostile API key slows down a polite one.

`python -m llava_interleave_serve.benchmarks.server.hostile_key [--seconds N] [--only WEAPON ...]`

Starts the server with the demo checkpoint and two API keys. The polite client, a process of its own, asks about a
picture of its own as soon as its last question is answered, alone first, then beside each weapon in turn: clients of
the hostile key that send, again and again, what is meant to take a server from others. Two are no weapons but measures:
`read_streams` for `unread_streams`, the same streams of clients that read them; `discarded_text` for `long_text`, the
same bytes sent to another process, which throws them away. Prints a Markdown table of the latencies of the polite
client and of what the hostile key was answered, and one JSON line last.
"""

import argparse
import asyncio
import contextlib
import io
import itertools
import json
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from http import HTTPStatus
from typing import Any

import aiohttp
from PIL import Image

from llava_interleave_serve.benchmarks.load.results.aggregate import spread
from llava_interleave_serve.benchmarks.openai_api import content_parts
from llava_interleave_serve.benchmarks.server import image_host, processes
from llava_interleave_serve.demo.scenes.families import FAMILIES
from llava_interleave_serve.demo.scenes.message_parts import message_parts

CHAT = "/v1/chat/completions"
POLITE, HOSTILE = "polite", "hostile"
HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {HOSTILE}\r\nContent-Type: application/json\r\n"
CLIENTS = 8  # of the hostile key at a time
PAUSE = 0.1  # seconds between two requests of such a client: what counts is what a request costs, and not a flood
SETTLING = 2.0  # seconds between two weapons
Send = Callable[[int], Awaitable[None]]  # sends the request of this number


def message_body(*parts: dict[str, Any], **fields: Any) -> bytes:
    """The body of a chat request."""
    return json.dumps({"messages": [{"role": "user", "content": parts}], "max_tokens": 16, **fields}).encode()


STREAM = message_body(
    content_parts.text_part("Count."),
    stream=True,
    logprobs=True,
    top_logprobs=20,
    max_tokens=780,  # with these log probabilities, the most that is allowed
    ignore_eos=True,
    n=4,
)


def picture_part(width: int, height: int, number: int) -> dict[str, Any]:
    """An image part of one colour, a few kilobytes for any size; each number has bytes of its own."""
    file = io.BytesIO()
    Image.new("P", (width, height), number % 256).save(file, "PNG")
    content = file.getvalue() + number.to_bytes(8)  # behind the end of the file
    return content_parts.image_part(content_parts.data_url(content, "image/png"))


class HostileKey:
    """The weapons. Each is a method that sends one request, or opens what it opens, and notes what became of it.

    Attributes:
        outcomes: statuses, and names of errors, by how often they came.

    """

    def __init__(self, session: aiohttp.ClientSession, host: image_host.ImageHost, url: str) -> None:
        self._session, self._host = session, host
        self._address, _, self._port = url.rpartition("/")[2].partition(":")
        self.outcomes: Counter[str] = Counter()
        large = [picture_part(7000, 7000, number) for number in range(12)]
        self._large = message_body(*large)
        self._videos = [message_body(_video(seed)) for seed in range(8)]
        self._wide_json = b'{"messages":[' + b"{}," * 700_000 + b"{}]}"
        self._long_text = message_body(content_parts.text_part("\U0001f600 a" * 400_000))
        self._pattern = message_body(
            content_parts.text_part("?"), structured_outputs={"regex": "(a|b|cc|[d-z]{1,40}){1,120}"}
        )

    async def large_pictures(self, number: int) -> None:
        """Twelve pictures of 49 megapixels, in 0.1 MB."""
        await self._post(self._large)

    async def videos(self, number: int) -> None:
        """A video with another span each time."""
        await self._post(self._videos[number % len(self._videos)])

    async def slow_host(self, number: int) -> None:
        """64 URLs at a host that answers after a second."""
        urls = [f"{self._host.url}{image_host.SLOW}/{number}-{index}.png" for index in range(64)]
        await self._post(message_body(*map(content_parts.image_part, urls)))

    async def dead_names(self, number: int) -> None:
        """32 URLs at names that have no address."""
        urls = [f"http://x{number}-{index}.invalid/a.png" for index in range(32)]
        await self._post(message_body(*map(content_parts.image_part, urls)))

    async def json_values(self, number: int) -> None:
        """700,000 empty objects in 2 MB."""
        await self._post(self._wide_json)

    async def long_text(self, number: int) -> None:
        """2.4 MB of text, in 5.6 MB of JSON."""
        await self._post(self._long_text)

    async def discarded_text(self, number: int) -> None:
        """The same text, to the host of the pictures."""
        await self._post(self._long_text, self._host.url)

    async def grammars(self, number: int) -> None:
        """A regular expression that is large when compiled."""
        await self._post(self._pattern)

    async def slow_bodies(self, number: int) -> None:
        """A body of 64 MiB that is announced, of which a byte comes each second."""
        await self._drip(HEAD + "Content-Length: 67108864\r\n\r\n{")

    async def idle_connections(self, number: int) -> None:
        """A connection, without a key, that sends nothing."""
        await self._drip("")

    async def unread_streams(self, number: int) -> None:
        """A long stream of four choices that is not read, with 20 log probabilities a token."""
        await self._drip(f"{HEAD}Content-Length: {len(STREAM)}\r\n\r\n{STREAM.decode()}")

    async def read_streams(self, number: int) -> None:
        """The same stream, which is read."""
        await self._post(STREAM)

    async def vanishing(self, number: int) -> None:
        """Clients that leave a tenth of a second after their request."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await self._post(self._large)
        self.outcomes["left"] += 1

    async def _post(self, content: bytes, url: str = CHAT) -> None:
        headers = {"Authorization": f"Bearer {HOSTILE}", "Content-Type": "application/json"}
        try:
            async with self._session.post(url, data=content, headers=headers) as response:
                await response.read()
                self.outcomes[str(response.status)] += 1
        except aiohttp.ClientError as error:
            self.outcomes[type(error).__name__] += 1

    async def _drip(self, text: str) -> None:
        """Opens a connection, sends the text and then a byte a second until the server closes; reads nothing."""
        reader, writer = await asyncio.open_connection(self._address, int(self._port), limit=1024)
        try:
            writer.write(text.encode())
            while not reader.at_eof() and not writer.transport.is_closing():
                await asyncio.sleep(1.0)
                if text:
                    writer.write(b" ")
        except ConnectionError:
            pass
        finally:
            self.outcomes["closed"] += 1
            writer.transport.abort()


WEAPONS = (
    "large_pictures", "videos", "slow_host", "dead_names", "json_values", "long_text", "discarded_text", "grammars",
    "slow_bodies", "idle_connections", "unread_streams", "read_streams", "vanishing",
)  # fmt: skip


def _video(seed: int) -> dict[str, Any]:
    conversation = FAMILIES["motion"](random.Random(seed))
    part: dict[str, Any] = message_parts(conversation, random.Random(seed), {})[0]
    return part


def ask_politely(url: str, seconds: float, first: int) -> list[float]:
    """The latencies, in seconds, of questions that the polite client asks one after another.

    first: number of the first question. Raises RuntimeError for an answer that is not a 200.
    """
    return asyncio.run(_ask_politely(url, seconds, first))


async def _ask_politely(url: str, seconds: float, first: int) -> list[float]:
    latencies: list[float] = []
    headers = {"Authorization": f"Bearer {POLITE}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(url, headers=headers) as session:
        end = time.perf_counter() + seconds
        for number in itertools.count(first):
            part = picture_part(320, 240, number)
            content = message_body(part, content_parts.text_part("What is shown?"), temperature=0)
            start = time.perf_counter()
            if start > end:
                break
            async with session.post(CHAT, data=content) as response:
                text = await response.text()
                if response.status != HTTPStatus.OK:
                    raise RuntimeError(f"the polite client was answered {response.status}: {text[:500]}")
            latencies.append(time.perf_counter() - start)
    return latencies


async def beside(send: Send, work: Awaitable[list[float]]) -> list[float]:
    """The result of the work, while CLIENTS send, each PAUSE after its last answer."""
    numbers = itertools.count()

    async def attack() -> None:
        while True:
            await send(next(numbers))
            await asyncio.sleep(PAUSE)

    attackers = [asyncio.create_task(attack()) for _ in range(CLIENTS)]
    try:
        return await work
    finally:
        for attacker in attackers:
            attacker.cancel()
        await asyncio.gather(*attackers, return_exceptions=True)


async def run(
    url: str, host: image_host.ImageHost, polite: ProcessPoolExecutor, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Measures the polite client, which `polite` runs, alone and beside each weapon, and prints a row for each."""
    loop, rows = asyncio.get_running_loop(), list[dict[str, Any]]()
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
        hostile = HostileKey(session, host, url)
        await loop.run_in_executor(polite, ask_politely, url, 3.0, 0)
        print("| beside | questions | p50, ms | p99, ms | p99 to alone | the hostile key's answers |")
        print("|---|---|---|---|---|---|")
        for number, name in enumerate(["nothing", *arguments.only, "nothing"]):
            hostile.outcomes.clear()
            first = (number + 1) * 100_000
            asking = loop.run_in_executor(polite, ask_politely, url, arguments.seconds, first)
            send = getattr(hostile, name, None)
            latencies = await (asking if send is None else beside(send, asking))
            quantiles = spread(latencies)
            if quantiles is None:
                raise RuntimeError(f"no question was answered beside {name}")
            row = {"beside": name, "questions": len(latencies), "p50": quantiles.p50, "p99": quantiles.p99}
            row |= {"ratio": row["p99"] / rows[0]["p99"] if rows else 1.0, "outcomes": dict(hostile.outcomes)}
            rows.append(row)
            answers = ", ".join(f"{count} x {outcome}" for outcome, count in hostile.outcomes.most_common()) or "-"
            figures = f"{1e3 * row['p50']:.0f} | {1e3 * row['p99']:.0f} | {row['ratio']:.2f}"
            print(f"| {name.replace('_', ' ')} | {row['questions']} | {figures} | {answers} |", flush=True)
            await asyncio.sleep(SETTLING)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="beside each weapon (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=WEAPONS, default=list(WEAPONS), help="weapons (all)")
    arguments = parser.parse_args()
    options = ("--api-key", POLITE, "--api-key", HOSTILE, "--allowed-media-hosts", "127.0.0.1")
    with (
        image_host.running_host() as host,
        processes.running_server(processes.own_command(*options)) as server,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as polite,
    ):
        rows = asyncio.run(run(server.url, host, polite, arguments))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
