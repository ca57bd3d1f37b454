"""The HTTP response to a request for text: an answer, whole, or as server-sent events."""

import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from llava_interleave_serve.server.errors import ServeError
from llava_interleave_serve.server.http.error_responses import error_body
from llava_interleave_serve.server.request_context import RequestContext, ServerState, unless_client_leaves

T = TypeVar("T")
GRACE = 2.0  # seconds after its deadline until an answer that its client does not read is cut
PIECE_BYTES = 1 << 16  # of a whole answer
logger = logging.getLogger("llava_interleave_serve")


def with_fields(event: str, **fields: Any) -> str:
    """The event with further fields in its JSON object, which may be long and is not read."""
    return f"{event.rstrip().removesuffix('}')},{json.dumps(fields).removeprefix('{')}\n\n"


class LastEventDetector:
    """Recognises the last event of a stream before `[DONE]`.

    That is the event with the usage if the request asks for it, else the one that ends the last choice. The text of an
    event is searched, since parsing every token's event would cost more; quotes inside JSON strings are escaped, so the
    patterns cannot match there.
    """

    def __init__(self, sampling: dict[str, Any], prompts: int = 1) -> None:
        options = sampling.get("stream_options") or {}
        self._has_usage = bool(options.get("include_usage"))
        self._open_choices: int = (sampling.get("n") or 1) * prompts

    def __call__(self, event: str) -> bool:
        if self._has_usage:
            return '"choices":[]' in event
        self._open_choices -= event.count('"finish_reason":"')
        return self._open_choices == 0 and '"finish_reason":"' in event


class WholeAnswer(JSONResponse):
    """An answer as one JSON object, sent in pieces as its client reads it."""

    def __init__(self, answer: dict[str, Any], context: RequestContext, resources: contextlib.ExitStack) -> None:
        """resources: the exit stack with the request's reservation, which the response empties; it ends them."""
        super().__init__(answer, headers={"Server-Timing": context.timing.header()})
        self._context, self._resources = context, resources.pop_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with _sent_in_time(self._context, self._resources):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            # The HTTP server waits before a piece until its client has read most of what came before.
            for end in range(PIECE_BYTES, len(self.body) + PIECE_BYTES, PIECE_BYTES):
                piece, is_last = self.body[end - PIECE_BYTES : end], end >= len(self.body)
                await send({"type": "http.response.body", "body": piece, "more_body": not is_last})


class EventStream(StreamingResponse):
    """A streamed answer. However it ends, the engine's generator is closed first, and then the request's resources."""

    def __init__(
        self,
        first: str,
        rest: AsyncGenerator[str, None],
        context: RequestContext,
        resources: contextlib.ExitStack,
    ) -> None:
        """first, rest: its events. resources: the exit stack with the request's reservation, which is emptied."""
        # Proxies gather a stream into lumps unless they are told so: the second header is nginx's.
        headers = {
            "Server-Timing": context.timing.header(),
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }
        super().__init__(_chained(first, rest), headers=headers, media_type="text/event-stream")
        self._rest, self._context, self._resources = rest, context, resources.pop_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with _sent_in_time(self._context, self._resources), contextlib.aclosing(self._rest):
            await super().__call__(scope, receive, send)


@contextlib.asynccontextmanager
async def _sent_in_time(context: RequestContext, resources: contextlib.ExitStack) -> AsyncIterator[None]:
    """Cuts an answer that its client has not read GRACE seconds after the deadline, and then ends the resources."""
    with resources:
        try:
            async with context.limited(GRACE):
                yield
        except ServeError:
            logger.info("an answer was cut, since its client had not read it in time")


async def _chained(first: str, rest: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    yield first
    async for event in rest:
        yield event


async def respond(
    request: Request,
    server: ServerState,
    read: Callable[[Request, ServerState, RequestContext], Awaitable[T]],
    answer_of: Callable[[ServerState, RequestContext, T], Awaitable[dict[str, Any] | AsyncGenerator[str, None]]],
) -> Response:
    """The response to a request for text: admitted, read and answered before its deadline, whole or as a stream.

    read: reads and checks the body. answer_of: the answer to it, or a stream. A stream's first event decides the
    status: an engine that refuses a streamed request raises it there. Raises ServeError.
    """
    with contextlib.ExitStack() as resources:
        context = resources.enter_context(server.admit(request))

        async def begin(body: T) -> dict[str, Any] | tuple[str, AsyncGenerator[str, None]]:
            answer = await answer_of(server, context, body)
            return answer if isinstance(answer, dict) else (await anext(answer), answer)

        async with server.within_deadline(context):
            body = await read(request, server, context)
            answer = await unless_client_leaves(request, begin(body))
        if isinstance(answer, dict):
            return WholeAnswer(answer, context, resources)
        return EventStream(*answer, context, resources)


async def timed_events(
    events: AsyncGenerator[str, None],
    is_last: LastEventDetector,
    context: RequestContext,
    **first_fields: Any,
) -> AsyncGenerator[str, None]:
    """The engine's events, the last of them with the durations of the request's phases; at its end, why it ended.

    first_fields: further fields of the first event's JSON object. An error before it is raised.
    """
    async with contextlib.aclosing(events):
        first = await anext(events)
        yield with_fields(first, **first_fields) if first_fields else first
        while True:
            try:
                async with context.limited():
                    event = await anext(events, None)
            except ServeError as error:
                yield f"data: {json.dumps(error_body(error))}\n\n"
                yield "data: [DONE]\n\n"
                return
            if event is None:
                return
            yield with_fields(event, server_timing=context.timing.milliseconds()) if is_last(event) else event
