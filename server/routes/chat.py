"""POST /v1/chat/completions."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from llava_interleave_serve.server.body import read_json
from llava_interleave_serve.server.errors import (
    ClientGone,
    DeadlineExceeded,
    EngineRefusal,
    LimitExceeded,
    ServeError,
)
from llava_interleave_serve.server.http.error_responses import error_body
from llava_interleave_serve.server.prompt import chat_request, request_counts
from llava_interleave_serve.server.request_context import CurrentServer, RequestContext, ServerState
from llava_interleave_serve.server.sse import EventStream, LastEventDetector, event_data, with_fields

T = TypeVar("T")
router = APIRouter()
BODY_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": chat_request.ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
            }
        },
    }
}
SERVER_ERROR = 500


async def read_chat_request(request: Request, server: ServerState, context: RequestContext) -> chat_request.ChatRequest:
    """The body as a chat request. Raises RequestError naming the field at fault."""
    limits = server.config.limits

    def validate(body: Any) -> chat_request.ChatRequest:
        request_counts.check(body, limits)
        return chat_request.parse(body)

    chat = await read_json(request, limits, context.reservation, validate)
    n = chat.sampling.get("n", 1)
    if isinstance(n, int) and n > limits.max_choices:
        raise LimitExceeded(f"n is {n}, more than the {limits.max_choices} allowed", param="n")
    return chat


@router.post("/v1/chat/completions", openapi_extra=BODY_SCHEMA)
async def chat_completions(request: Request, server: CurrentServer) -> Response:
    """Answers a conversation of text, images, videos and camera views; whole, or streamed."""
    with contextlib.ExitStack() as resources:
        context = resources.enter_context(server.admit(request))
        try:
            async with asyncio.timeout_at(context.deadline):
                chat = await read_chat_request(request, server, context)
                answer = await _unless_client_leaves(request, _answer(server, context, chat))
        except ClientDisconnect:
            raise ClientGone("the client left before its request had come") from None
        except TimeoutError:
            raise _deadline_exceeded(server) from None
        if isinstance(answer, dict):
            return JSONResponse(answer, headers={"Server-Timing": context.timing.header()})
        return EventStream(answer, context, resources.pop_all())


async def _answer(
    server: ServerState, context: RequestContext, chat: chat_request.ChatRequest
) -> dict[str, Any] | AsyncGenerator[str, None]:
    """The answer as OpenAI's object, or a stream whose first event has come.

    The first event decides the status: an engine that refuses a streamed request reports it there.
    """
    rendered = await server.render(chat, context)
    answer = await server.engine.chat(rendered.token_ids, rendered.visuals, chat.sampling, context.timing)
    if isinstance(answer, dict):
        return answer | {"media_usage": rendered.media_usage}
    first = await anext(answer)
    if (error := _error_of_event(first)) is not None:
        raise error
    first = with_fields(first, media_usage=rendered.media_usage)
    return _events(first, answer, LastEventDetector(chat.sampling), server, context)


def _deadline_exceeded(server: ServerState) -> DeadlineExceeded:
    return DeadlineExceeded(f"the answer had not ended {server.config.limits.request_timeout:g} s after its request")


async def _events(
    first: str,
    rest: AsyncGenerator[str, None],
    is_last: LastEventDetector,
    server: ServerState,
    context: RequestContext,
) -> AsyncGenerator[str, None]:
    """The engine's events, the last of them with the durations of the request's phases."""
    loop = asyncio.get_running_loop()
    yield first
    async with contextlib.aclosing(rest):
        async for event in rest:
            if loop.time() > context.deadline:
                yield f"data: {json.dumps(error_body(_deadline_exceeded(server)))}\n\n"
                yield "data: [DONE]\n\n"
                return
            yield with_fields(event, server_timing=context.timing.milliseconds()) if is_last(event) else event


def _error_of_event(event: str) -> ServeError | None:
    """The error that an event of vLLM's carries, if it carries one."""
    error = event_data(event).get("error")
    if error is None:
        return None
    status = error.get("code")
    if isinstance(status, int) and status < SERVER_ERROR:
        return EngineRefusal(str(error["message"]), param=error.get("param"), status=status)
    return ServeError(str(error["message"]), param=error.get("param"))


async def _unless_client_leaves(request: Request, work: Awaitable[T]) -> T:
    """The result of the work. Raises ClientGone if the client leaves before, and cancels the work then."""
    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone("the client left before its answer")
        return task.result()
    finally:
        leaving.cancel()
        task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
