"""Server-sent events of a streamed answer, and the HTTP response that carries them."""

import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from llava_interleave_serve.server.errors import ServeError
from llava_interleave_serve.server.request_context import RequestContext

GRACE = 2.0  # seconds after its deadline until a stream that its client does not read is cut


def event_data(event: str) -> dict[str, Any]:
    """The JSON object of an event."""
    data: dict[str, Any] = json.loads(event.removeprefix("data: "))
    return data


def with_fields(event: str, **fields: Any) -> str:
    """The event with further fields in its JSON object."""
    return f"data: {json.dumps(event_data(event) | fields)}\n\n"


class LastEventDetector:
    """Recognises the last event of a stream before `[DONE]`.

    That is the event with the usage if the request asks for it, else the one that ends the last choice. The text of an
    event is searched, since parsing every token's event would cost more; quotes inside JSON strings are escaped, so the
    patterns cannot match there.
    """

    def __init__(self, sampling: dict[str, Any]) -> None:
        options = sampling.get("stream_options") or {}
        self._has_usage = bool(options.get("include_usage"))
        self._open_choices: int = sampling.get("n") or 1

    def __call__(self, event: str) -> bool:
        if self._has_usage:
            return '"choices":[]' in event
        self._open_choices -= event.count('"finish_reason":"')
        return self._open_choices == 0 and '"finish_reason":"' in event


class EventStream(StreamingResponse):
    """A streamed answer. However it ends, the engine's generator is closed first, and then the request's resources.

    resources: the exit stack that holds the request's reservation.
    """

    def __init__(
        self, events: AsyncGenerator[str, None], context: RequestContext, resources: contextlib.ExitStack
    ) -> None:
        # Proxies gather a stream into lumps unless they are told so: the second header is nginx's.
        headers = {
            "Server-Timing": context.timing.header(),
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._events, self._context, self._resources = events, context, resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._resources, contextlib.suppress(ServeError):
            async with contextlib.aclosing(self._events), self._context.limited(GRACE):
                await super().__call__(scope, receive, send)
