"""An OpenAI server on loopback that answers by a rule instead of a model, and keeps the requests that it got."""

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


def message_text(message: dict[str, Any]) -> str:
    """Returns the texts of a message, joined."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def digest_answer(messages: list[dict[str, Any]]) -> str:
    """Returns a letter a-d that depends on the whole conversation: texts, pictures, their order and options."""
    return "abcd"[hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).digest()[0] % 4]


def pooled_side(options: dict[str, Any]) -> int:
    """Returns the side of a visual's grid of tokens after its pooling."""
    stride: int = options.get("pool_stride", 2)
    match options.get("pooling", "none"):
        case "none":
            return GRID
        case "bilinear":
            return -(-GRID // stride)
        case _:
            return GRID // stride


class FakeOpenAI:
    """The server, and how it is to behave.

    Attributes:
        answer_rule: Returns the answer to a conversation's messages.
        bodies: Every request's JSON, in order.
        sessions: Every request's X-Session-ID, in order.
        refusals: Statuses and headers of the first responses, before any answer.
        on_request: Called with the number of requests so far, before each is answered.
        min_concurrent: How many requests must be under way before the first is answered.
        max_concurrent: How many were under way at most.
        cut_after: The number of events after which each stream breaks off; None for whole streams.
        last_lines: What each stream holds before its end.
    """

    def __init__(self, answer_rule: Callable[[list[dict[str, Any]]], str] = digest_answer) -> None:
        self.answer_rule = answer_rule
        self.bodies: list[dict[str, Any]] = []
        self.sessions: list[str | None] = []
        self.refusals: list[tuple[int, dict[str, str]]] = []
        self.on_request: Callable[[int], object] = lambda number: None
        self.max_concurrent = 0
        self.cut_after: int | None = None
        self.last_lines = ": a comment\n\n"
        self.min_concurrent = 1
        self._enough = asyncio.Event()
        self._concurrent = 0
        routes = [Route("/v1/models", self._models), Route("/v1/chat/completions", self._chat, methods=["POST"])]
        self.app = Starlette(routes=routes)
        self.base_url = ""

    @property
    def question_counts(self) -> Counter[str]:
        """The number of times that each question was asked, by the texts of its whole conversation."""
        return Counter(" | ".join(map(message_text, body["messages"])) for body in self.bodies)

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"data": [{"id": "fake"}]})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        self.sessions.append(request.headers.get("x-session-id"))
        self.on_request(len(self.bodies))
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return JSONResponse({"error": {"message": f"no: {status}"}}, status, headers)
        return StreamingResponse(self._events(body), media_type="text/event-stream")

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        self._concurrent += 1
        if self._concurrent >= self.min_concurrent:
            self._enough.set()
        await self._enough.wait()
        self.max_concurrent = max(self.max_concurrent, self._concurrent)
        answer = self.answer_rule(body["messages"])
        usage = {"prompt_tokens": 7, "completion_tokens": len(answer), "total_tokens": 7 + len(answer)}
        events: list[dict[str, Any]] = [{"choices": [{"delta": {"role": "assistant"}}], "media_usage": _media(body)}]
        events += [{"choices": [{"delta": {"content": letter}}]} for letter in answer]
        events += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": usage}]
        for event in events[: self.cut_after]:
            yield f"data: {json.dumps(event)}\n\n"
        yield self.last_lines
        self._concurrent -= 1
        if self.cut_after is None:
            yield "data: [DONE]\n\n"


def _media(body: dict[str, Any]) -> dict[str, int]:
    visuals = tokens = 0
    for message in body["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else []:
            options = part.get(part["type"])
            if part["type"] != "text":
                frames = options.get("num_frames", 16) if part["type"] == "video_url" else 1
                visuals += frames
                tokens += frames * pooled_side(options) ** 2
    return {"visuals": visuals, "visual_tokens": tokens}


@contextlib.contextmanager
def running(answer_rule: Callable[[list[dict[str, Any]]], str] = digest_answer) -> Iterator[FakeOpenAI]:
    fake = FakeOpenAI(answer_rule)
    with serving(fake.app) as url:
        fake.base_url = f"{url}/v1"
        yield fake
