"""Whether requests answered together say what each says alone.

`python -m llava_interleave_serve.benchmarks.server.batch_equivalence [--requests N]`

Asks a running server that serves the demo the same mixed requests (images, videos, views; each from its own seed) one
after the other and then all at once, greedily, 24 tokens each, and compares token ids. Prints one JSON line. In float32
a difference is an error; in bfloat16 the sums of a larger batch round differently, and now and then another token wins.
"""

import argparse
import asyncio
import json
import random
import time
from typing import Any

import httpx
import openai

from llava_interleave_serve.benchmarks.openai_api import models
from llava_interleave_serve.demo.scenes.families import FAMILIES
from llava_interleave_serve.demo.scenes.message_parts import message_parts

TOKENS = 24


def requests(number: int) -> list[list[dict[str, Any]]]:
    """The contents of so many user messages, every family in turn."""
    families = list(FAMILIES.items())
    contents = []
    for seed in range(number):
        name, make = families[seed % len(families)]
        contents.append(message_parts(make(random.Random(f"batching {name} {seed}")), random.Random(seed), {}))
    return contents


async def token_ids(client: openai.AsyncOpenAI, model: str, content: list[dict[str, Any]]) -> list[int]:
    message: Any = {"role": "user", "content": content}  # openai's types do not know our parts
    extra = {"return_token_ids": True, "ignore_eos": True}
    answer = await client.chat.completions.create(
        model=model, messages=[message], temperature=0.0, max_tokens=TOKENS, extra_body=extra
    )
    tokens: list[int] = (answer.choices[0].model_extra or {})["token_ids"]
    return tokens


async def most_running(url: str, seen: list[float]) -> None:
    """Keeps in `seen` how many requests the engine's own metric says are running."""
    async with httpx.AsyncClient() as client:
        while True:
            lines = (await client.get(f"{url.removesuffix('/v1')}/metrics")).text.splitlines()
            seen += [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:num_requests_running")]
            await asyncio.sleep(0.05)


async def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    client = openai.AsyncOpenAI(base_url=arguments.base_url, api_key=arguments.api_key, max_retries=0, timeout=1800)
    headers = {"Authorization": f"Bearer {arguments.api_key}"}
    async with httpx.AsyncClient(base_url=f"{arguments.base_url.rstrip('/')}/", headers=headers) as http:
        model = await models.first_model(http, "models")
    contents = requests(arguments.requests)
    started = time.monotonic()
    alone = [await token_ids(client, model, content) for content in contents]
    seconds_alone = time.monotonic() - started
    seen: list[float] = []
    watching = asyncio.create_task(most_running(arguments.base_url, seen))
    started = time.monotonic()
    together = await asyncio.gather(*(token_ids(client, model, content) for content in contents))
    seconds_together = time.monotonic() - started
    watching.cancel()
    return {
        "requests": len(contents),
        "same": sum(one == other for one, other in zip(alone, together, strict=True)),
        "running_at_once": max(seen),
        "seconds_alone": round(seconds_alone, 1),
        "seconds_together": round(seconds_together, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--requests", type=int, default=64)
    print(json.dumps(asyncio.run(compare(parser.parse_args()))))


if __name__ == "__main__":
    main()
