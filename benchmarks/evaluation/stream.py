"""An answer, read from a stream of chat completion events."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx


class Unanswered(Exception):
    """No answer this time: the server is busy or failed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """text: stripped, as the reference strips it. Times in seconds from the request's start, that of the try that was
    answered. Tokens as far as the server says; visual_tokens only ours does.
    """

    text: str
    finish_reason: str | None
    seconds: float
    seconds_to_first_token: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    visuals: int | None
    visual_tokens: int | None


async def read(response: httpx.Response, started: float) -> Answer:
    """The answer in a streamed response to a request of the monotonic time `started`. Raises Unanswered."""
    text, first, reason = "", None, None
    usage: dict[str, Any] = {}
    media: dict[str, Any] = {}
    async for event in events(response):
        usage = event.get("usage") or usage
        media = event.get("media_usage") or media
        for choice in event.get("choices") or []:
            if piece := (choice.get("delta") or {}).get("content"):
                first = time.monotonic() - started if first is None else first
                text += piece
            reason = choice.get("finish_reason") or reason
    return Answer(
        text.strip(),
        reason,
        time.monotonic() - started,
        first,
        usage.get("prompt_tokens"),
        usage.get("completion_tokens"),
        media.get("visuals"),
        media.get("visual_tokens"),
    )


async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON events of a stream, to its `[DONE]`. Raises Unanswered if it ends before, or tells of an error."""
    async for line in response.aiter_lines():
        data = line.removeprefix("data:").strip()
        if data == line.strip():  # an empty line, a comment, another field
            continue
        if data == "[DONE]":
            return
        try:
            event = json.loads(data)
        except ValueError:
            raise Unanswered(f"in the stream: no JSON, {data:.80}") from None
        if "error" in event:
            raise Unanswered(f"in the stream: {event['error']}")
        yield event
    raise Unanswered("the stream was cut off")
