"""An OpenAI server on loopback that answers by a rule instead of a model, and remembers what it was asked."""

import asyncio
import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.asgi_thread import serving

GRID = 27


def texts(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def digest(messages: list[dict[str, Any]]) -> str:
    """A letter a-d that depends on everything in the conversation: texts, pictures, their order and options."""
    return "abcd"[hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).digest()[0] % 4]


def side(options: dict[str, Any]) -> int:
    stride: int = options.get("pool_stride", 2)
    match options.get("pooling", "none"):
        case "none":
            return GRID
        case "bilinear":
            return -(-GRID // stride)
        case _:
            return GRID // stride


class FakeOpenAI:
    """rule: from messages to the answer. bodies: every request, in order. first: responses to give before any answer.

    arrived: called with the number of requests so far, before the answer. together: how many requests must be under way
    before the first is answered. cut_after: after how many events the streams break off.
    last_words: what a stream says before it ends.
    """

    def __init__(self, rule: Callable[[list[dict[str, Any]]], str] = digest) -> None:
        self.rule = rule
        self.bodies: list[dict[str, Any]] = []
        self.first: list[tuple[int, dict[str, str]]] = []
        self.arrived: Callable[[int], object] = lambda number: None
        self.most_at_once = 0
        self.cut_after: int | None = None
        self.last_words = ": a comment\n\n"
        self.together = 1
        self._enough = asyncio.Event()
        self._at_once = 0
        routes = [Route("/v1/models", self._models), Route("/v1/chat/completions", self._chat, methods=["POST"])]
        self.app = Starlette(routes=routes)
        self.base_url = ""

    @property
    def asked(self) -> Counter[str]:
        """How often each question was asked, by the texts of the whole conversation."""
        return Counter(" | ".join(map(texts, body["messages"])) for body in self.bodies)

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"data": [{"id": "fake"}]})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        self.arrived(len(self.bodies))
        if self.first:
            status, headers = self.first.pop(0)
            return JSONResponse({"error": {"message": f"no: {status}"}}, status, headers)
        return StreamingResponse(self._events(body), media_type="text/event-stream")

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        self._at_once += 1
        if self._at_once >= self.together:
            self._enough.set()
        await self._enough.wait()
        self.most_at_once = max(self.most_at_once, self._at_once)
        answer = self.rule(body["messages"])
        usage = {"prompt_tokens": 7, "completion_tokens": len(answer), "total_tokens": 7 + len(answer)}
        events: list[dict[str, Any]] = [{"choices": [{"delta": {"role": "assistant"}}], "media_usage": _media(body)}]
        events += [{"choices": [{"delta": {"content": letter}}]} for letter in answer]
        events += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": usage}]
        for event in events[: self.cut_after]:
            yield f"data: {json.dumps(event)}\n\n"
        yield self.last_words
        self._at_once -= 1
        if self.cut_after is None:
            yield "data: [DONE]\n\n"


def _media(body: dict[str, Any]) -> dict[str, int]:
    visuals = tokens = 0
    for message in body["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else []:
            options = part.get(part["type"])
            if part["type"] != "text":
                shown = options.get("num_frames", 16) if part["type"] == "video_url" else 1
                visuals += shown
                tokens += shown * side(options) ** 2
    return {"visuals": visuals, "visual_tokens": tokens}


@contextlib.contextmanager
def running(rule: Callable[[list[dict[str, Any]]], str] = digest) -> Iterator[FakeOpenAI]:
    fake = FakeOpenAI(rule)
    with serving(fake.app) as url:
        fake.base_url = f"{url}/v1"
        yield fake
