"""Clients that ask one request after the other while something happens to the servers, and what they saw."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from llava_interleave_serve.benchmarks.openai_api import sse
from llava_interleave_serve.benchmarks.openai_api.models import SESSION_HEADER

CHAT = "/v1/chat/completions"


@dataclass
class Outcome:
    """One request.

    Attributes:
        began: when it was sent, by `time.monotonic`.
        fault: what was wrong with its answer; empty for nothing.

    """

    began: float
    fault: str


class Crowd:
    """One client for each body, with a session of its own; every second one asks for a stream.

    An answer that differs from the client's first one is a fault too: the bodies are to be such that they have one
    answer each. Is made, and used, in a running event loop.

    Attributes:
        outcomes: of the requests that have ended.

    """

    def __init__(self, client: httpx.AsyncClient, bodies: Sequence[dict[str, Any]]) -> None:
        self.outcomes: list[Outcome] = []
        self._enough = False
        self._client = client
        self._tasks = [asyncio.create_task(self._ask(number, body)) for number, body in enumerate(bodies)]

    async def further(self, answers: int) -> None:
        """Returns after so many requests that begin from now on have ended. Raises what a client has died of."""
        start = time.monotonic()
        while sum(outcome.began > start for outcome in self.outcomes) < answers:
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)

    async def end(self) -> list[Outcome]:
        """What all requests came to."""
        self._enough = True
        await asyncio.gather(*self._tasks)
        return self.outcomes

    async def _ask(self, number: int, body: dict[str, Any]) -> None:
        first = ""
        body, headers = body | {"stream": number % 2 == 0}, {SESSION_HEADER: f"{number}"}
        while not self._enough:
            began = time.monotonic()
            try:
                response = await self._client.post(CHAT, json=body, headers=headers)
                answer, fault = read(response, streamed=body["stream"])
            except httpx.TransportError as error:
                answer, fault = "", repr(error)
            first = first or answer
            if not fault and answer != first:
                fault = f"another answer: {answer!r} after {first!r}"
            self.outcomes.append(Outcome(began, fault))


def read(response: httpx.Response, *, streamed: bool) -> tuple[str, str]:
    """The text of an answer, and what is wrong with it."""
    if response.status_code != httpx.codes.OK:
        return "", f"{response.status_code} {response.text[:200]}"
    if not streamed:
        return str(response.json()["choices"][0]["message"]["content"]), ""
    events = [event.data for event in sse.events([(0.0, response.content)])]
    if not events or events[-1] != sse.DONE:
        return "", "the stream was cut"
    if broken := [event for event in events[:-1] if sse.has_error(event)]:
        return "", f"in the stream: {broken[0]}"
    deltas = [choice.get("delta") or {} for event in events[:-1] for choice in event.get("choices") or []]
    return "".join(delta.get("content") or "" for delta in deltas), ""
