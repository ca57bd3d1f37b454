"""Compares the answers of requests that are batched together with the answers of the same requests alone.

`python -m llava_interleave_serve.benchmarks.server.batch_equivalence [--requests N]`

Sends mixed requests about images, videos and views, each generated from its own seed, to a running server of the demo:
first one after the other and then all at once, greedily, 24 tokens each. Compares token ids and prints one JSON line.
In float32 a difference is an error. In bfloat16 the sums of a larger batch round differently, and now and then another
token wins.
"""

import argparse
import asyncio
import json
import random
import time
from typing import Any

import httpx

from llava_interleave_serve.benchmarks.load.client.sender import connect
from llava_interleave_serve.benchmarks.openai_api import models
from llava_interleave_serve.demo.scenes.families import FAMILIES
from llava_interleave_serve.demo.scenes.message_parts import message_parts

TOKENS = 24
TIMEOUT = 1800.0  # seconds for one request


def contents(number: int) -> list[list[dict[str, Any]]]:
    """The content parts of `number` user messages, of every family of questions in turn."""
    families = list(FAMILIES.items())
    messages = []
    for seed in range(number):
        name, make = families[seed % len(families)]
        messages.append(message_parts(make(random.Random(f"batching {name} {seed}")), random.Random(seed), {}))
    return messages


async def token_ids(client: httpx.AsyncClient, model: str, content: list[dict[str, Any]]) -> list[int]:
    """Sends one message and returns the token ids of the answer. Raises httpx.HTTPStatusError if it is refused."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": content}], "temperature": 0.0}
    body |= {"max_tokens": TOKENS, "ignore_eos": True, "return_token_ids": True}
    response = await client.post("/v1/chat/completions", json=body)
    tokens: list[int] = response.raise_for_status().json()["choices"][0]["token_ids"]
    return tokens


async def watch_running(client: httpx.AsyncClient, samples: list[float]) -> None:
    """Appends the number of requests that the engine's own metric reports as running, until it is cancelled."""
    while True:
        lines = (await client.get("/metrics")).text.splitlines()
        samples += [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:num_requests_running")]
        await asyncio.sleep(0.05)


async def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Sends every request alone and then among the others, and returns the report."""
    async with connect(arguments.base_url, arguments.api_key, TIMEOUT) as client:
        model = await models.first_model(client)
        messages = contents(arguments.requests)
        start = time.monotonic()
        alone = [await token_ids(client, model, content) for content in messages]
        seconds_alone = time.monotonic() - start
        running: list[float] = []
        watching = asyncio.create_task(watch_running(client, running))
        start = time.monotonic()
        together = await asyncio.gather(*(token_ids(client, model, content) for content in messages))
        seconds_together = time.monotonic() - start
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return {
        "requests": len(messages),
        "same": sum(first == second for first, second in zip(alone, together, strict=True)),
        "running_at_once": max(running),
        "seconds_alone": round(seconds_alone, 1),
        "seconds_together": round(seconds_together, 1),
    }


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--base-url", default="http://127.0.0.1:8000/v1", help="of the server (%(default)s)")
    options.add_argument("--api-key", default="none", help="of the server (%(default)s)")
    options.add_argument("--requests", type=int, default=64, help="to compare (%(default)s)")
    return options


def main() -> None:
    print(json.dumps(asyncio.run(compare(parser().parse_args()))))


if __name__ == "__main__":
    main()
