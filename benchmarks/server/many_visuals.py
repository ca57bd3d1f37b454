"""Asks a running server about as many small visuals as a request may have, in several requests at once.

`python -m llava_interleave_serve.benchmarks.server.many_visuals --url URL [--visuals 256] [--requests 2]`

The visuals are frames pooled by stride 4, of which the most fit into one step: where a step's visuals are bounded by
the rows of their output alone, the tower's memory ends the engine. Each request has pictures of its own; all are sent
at once, and then one after the other. The exit code is 1 if one is refused, is not answered in full, or does not count
its visuals, or if the server is not ready afterwards. Answers that are the same alone are counted only: in bfloat16 the
sums of another batch round differently. Prints one JSON line.
"""

import argparse
import asyncio
import json
import sys
from typing import Any

import httpx

from llava_interleave_serve.benchmarks.load.client.sender import connect
from llava_interleave_serve.benchmarks.load.requests.images import Encoded, Noise, data_url
from llava_interleave_serve.benchmarks.openai_api import content_parts, models

TOKENS = 8
SIDE = 48  # pixels of a picture
TIMEOUT = 600.0  # seconds for one request


def body(model: str, number: int, visuals: int) -> dict[str, Any]:
    """The body of a request about so many frames that no other request has."""
    pictures = (Encoded(Noise(number * visuals + index, SIDE, SIDE), "jpeg") for index in range(visuals))
    frames = {"frames": [{"url": data_url(each)} for each in pictures], "pooling": "average", "pool_stride": 4}
    content = [{"type": "video_frames", "video_frames": frames}, content_parts.text_part("What is shown?")]
    settings = {"temperature": 0.0, "max_tokens": TOKENS, "ignore_eos": True, "return_token_ids": True}
    return {"model": model, "messages": [{"role": "user", "content": content}], **settings}


async def ask(client: httpx.AsyncClient, request: dict[str, Any], visuals: int) -> tuple[list[int], str | None]:
    """The answer's token ids, and what is wrong with the answer."""
    try:
        response = await client.post("/v1/chat/completions", json=request)
    except httpx.TransportError as error:
        return [], f"no answer: {error!r}"
    if response.status_code != httpx.codes.OK:
        return [], f"{response.status_code}: {response.text[:200]}"
    answer = response.json()
    tokens: list[int] = answer["choices"][0].get("token_ids", [])
    counted = answer.get("media_usage", {}).get("visuals")
    if len(tokens) != TOKENS:
        return tokens, f"{len(tokens)} of {TOKENS} tokens"
    return tokens, None if counted == visuals else f"{counted} of {visuals} visuals are counted"


async def compare(url: str, requests: int, visuals: int) -> dict[str, Any]:
    """Sends the requests at once and then alone; the report."""
    async with connect(url, None, TIMEOUT) as client:
        model = await models.first_model(client)
        bodies = [body(model, number, visuals) for number in range(requests)]
        together = await asyncio.gather(*(ask(client, each, visuals) for each in bodies))
        alone = [await ask(client, each, visuals) for each in bodies]
        ready = (await client.get("/ready")).status_code == httpx.codes.OK
    faults = [fault for _, fault in [*together, *alone] if fault]
    if not ready:
        faults.append("the server is not ready")
    same = sum(first == second for (first, _), (second, _) in zip(together, alone, strict=True))
    return {"requests": requests, "visuals": visuals, "faults": faults, "same_alone": same}


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--url", required=True, help="of the server, without /v1")
    options.add_argument("--visuals", type=int, default=256, help="of a request (%(default)s)")
    options.add_argument("--requests", type=int, default=2, help="at once (%(default)s)")
    return options


def main() -> None:
    arguments = parser().parse_args()
    report = asyncio.run(compare(arguments.url, arguments.requests, arguments.visuals))
    print(json.dumps(report))
    sys.exit(1 if report["faults"] else 0)


if __name__ == "__main__":
    main()
