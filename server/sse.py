"""Server-sent events of a streamed answer, and the response that carries them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from llava_interleave_serve.server.request_context import Visit

GRACE = 5.0  # seconds after its deadline until a stream that its client does not read is cut


def data_of(event: str) -> dict[str, Any]:
    """What an event carries."""
    data: dict[str, Any] = json.loads(event.removeprefix("data: "))
    return data


def with_fields(event: str, **fields: Any) -> str:
    """The event with further fields."""
    return f"data: {json.dumps(data_of(event) | fields)}\n\n"


class LastEvent:
    """Tells which event of a stream is the last before `[DONE]`: the usage where it is asked for, else the last end of
    a choice. Looks at the text, not to parse every token's event: inside a JSON string, quotes are escaped.
    """

    def __init__(self, sampling: dict[str, Any]) -> None:
        options = sampling.get("stream_options") or {}
        self._with_usage = bool(options.get("include_usage"))
        self._choices: int = sampling.get("n") or 1

    def __call__(self, event: str) -> bool:
        if self._with_usage:
            return '"choices":[]' in event
        self._choices -= event.count('"finish_reason":"')
        return self._choices == 0 and '"finish_reason":"' in event


class EventStream(StreamingResponse):
    """A streamed answer. However it ends, the engine's generator is closed, and then the request's stay."""

    def __init__(self, events: AsyncGenerator[str, None], visit: Visit, stay: contextlib.ExitStack) -> None:
        timing = {"Server-Timing": visit.phases.header()}
        super().__init__(events, headers=timing, media_type="text/event-stream")
        self._events, self._deadline, self._stay = events, visit.deadline + GRACE, stay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._stay, contextlib.suppress(TimeoutError):
            async with contextlib.aclosing(self._events), asyncio.timeout_at(self._deadline):
                await super().__call__(scope, receive, send)
