"""Accuracy of the demo checkpoint, asked through HTTP: `python -m llava_interleave_serve.demo.evaluate`.

Sends a running server questions about scenes that training did not see, decoded greedily, and compares whole answers.
Where the right answer depends on the order of the visuals, the same questions are sent again with the order changed.
Videos are MP4 files, whose frames the server samples.
"""

import argparse
import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import httpx

from llava_interleave_serve.demo.scenes.families import FAMILIES
from llava_interleave_serve.demo.scenes.message_parts import message_parts
from llava_interleave_serve.demo.scenes.permutations import permuted
from llava_interleave_serve.demo.scenes.questions import Conversation

MAX_TOKENS = 40
TIMEOUT = 600  # seconds for one answer
POOLED = {"pooling": "bilinear", "pool_stride": 2}


class Chat:
    """A client of one model behind `/v1/chat/completions`, with a bound on the requests that wait at once."""

    def __init__(self, client: httpx.AsyncClient, model: str, concurrency: int) -> None:
        self._client, self._model = client, model
        self._slots = asyncio.Semaphore(concurrency)

    async def answer(self, parts: list[dict[str, Any]]) -> str:
        """Sends one user message and returns the answer's text.

        Raises SystemExit if the server refuses it.
        """
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": parts}],
            "temperature": 0.0,
            "max_tokens": MAX_TOKENS,
        }
        async with self._slots:
            response = await self._client.post("chat/completions", json=body)
        if response.is_error:
            raise SystemExit(f"the server answered a question with {response.status_code}: {response.text[:1000]}")
        return response.json()["choices"][0]["message"]["content"] or ""


class Outcome(NamedTuple):
    """A question, its right answer, and the model's answer."""

    question: str
    right_answer: str
    answer: str

    @property
    def is_right(self) -> bool:
        """True if the whole answer is the right one."""
        return self.answer == self.right_answer


class Asked(NamedTuple):
    """The content parts of a user message, the question among them, and its right answer."""

    parts: list[dict[str, Any]]
    question: str
    right_answer: str


async def outcomes(chat: Chat, messages: Sequence[Asked]) -> list[Outcome]:
    """Sends each message; the outcomes are in their order."""

    async def outcome(asked: Asked) -> Outcome:
        return Outcome(asked.question, asked.right_answer, await chat.answer(asked.parts))

    return await asyncio.gather(*map(outcome, messages))


def asked_of(conversations: Sequence[Conversation], pooling: dict[str, Any]) -> list[Asked]:
    """The messages of conversations of one question each.

    pooling: fields that go into every visual part.
    """
    turns = [conversation.turns[0] for conversation in conversations]
    return [
        Asked(message_parts(conversation, random.Random(seed), pooling), turn.question, turn.answer)
        for seed, (conversation, turn) in enumerate(zip(conversations, turns, strict=True))
    ]


def share_right(family: str, results: list[Outcome], shown_errors: int) -> float:
    """The share of right answers; prints the first `shown_errors` wrong ones."""
    for wrong in [result for result in results if not result.is_right][:shown_errors]:
        print(f"  {family}: {wrong.question!r} -> {wrong.answer!r}, not {wrong.right_answer!r}")
    return round(sum(result.is_right for result in results) / len(results), 4)


async def accuracy(chat: Chat, family: str, scenes: int, shown_errors: int) -> dict[str, Any]:
    """The shares of right answers in a family: as drawn, with the visuals permuted, and videos pooled by 2x2."""

    async def share(conversations: list[Conversation], pooling: dict[str, Any]) -> float:
        return share_right(family, await outcomes(chat, asked_of(conversations, pooling)), shown_errors)

    conversations = [FAMILIES[family](random.Random(f"held out {family} {number}")) for number in range(scenes)]
    line: dict[str, Any] = {"family": family, "scenes": scenes, "right": await share(conversations, {})}
    reordered = [permuted(family, each, random.Random(seed)) for seed, each in enumerate(conversations)]
    if all(each is not None for each in reordered):
        line["permuted"] = await share([each for each in reordered if each is not None], {})
    if conversations[0].video:
        line["pooled"] = await share(conversations, POOLED)
    return line


@contextlib.asynccontextmanager
async def connected(arguments: argparse.Namespace) -> AsyncIterator[Chat]:
    """A client of the first model of the server that the options name. Raises SystemExit if no API answers there."""
    base_url = f"{arguments.base_url.rstrip('/')}/"
    headers = {"Authorization": f"Bearer {arguments.api_key}"}
    limits = httpx.Limits(max_connections=arguments.concurrency)
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=TIMEOUT, limits=limits) as client:
        try:
            models = (await client.get("models")).raise_for_status().json()
        except httpx.HTTPError as error:
            raise SystemExit(f"no server with an API at {base_url} (--base-url): {error}") from None
        yield Chat(client, models["data"][0]["id"], arguments.concurrency)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the server and of the printing of wrong answers."""
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print up to N wrong answers a family")


async def evaluate(arguments: argparse.Namespace) -> None:
    """Prints one JSON line a family."""
    async with connected(arguments) as chat:
        for family in arguments.families:
            line = await accuracy(chat, family, arguments.scenes, arguments.show)
            print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--scenes", type=int, default=500, help="scenes a family (%(default)s)")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    asyncio.run(evaluate(parser.parse_args()))


if __name__ == "__main__":
    main()
