"""POST /v1/chat/completions."""

import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from llava_interleave_serve.server.errors import LimitExceeded, ModelNotFound, ServeError
from llava_interleave_serve.server.http.error_responses import error_body
from llava_interleave_serve.server.openapi import examples
from llava_interleave_serve.server.openapi.answers import ChatCompletion, ChatCompletionChunk, described
from llava_interleave_serve.server.openapi.document import event_stream, request_body
from llava_interleave_serve.server.openapi.request_schema import chat_request_schema
from llava_interleave_serve.server.prompt import chat_request, request_counts
from llava_interleave_serve.server.request_context import (
    CurrentServer,
    RequestContext,
    ServerState,
    unless_client_leaves,
)
from llava_interleave_serve.server.sse import EventStream, LastEventDetector, with_fields

router = APIRouter(tags=["chat"])
ANSWER = {"application/json": {"example": examples.ANSWER}}


async def read_chat_request(request: Request, server: ServerState, context: RequestContext) -> chat_request.ChatRequest:
    """The body as a chat request, whose model and sampling are checked too: before anything is fetched.

    Raises RequestError naming the field at fault.
    """
    limits = server.config.limits

    def validate(body: Any) -> chat_request.ChatRequest:
        request_counts.check(body, limits)
        return chat_request.parse(body)

    chat = await server.bodies.read_json(request, context.reservation, context.requester, validate)
    if chat.model and chat.model != server.engine.facts.name:
        raise ModelNotFound(f"there is no model {chat.model[:200]!r} here", param="model")
    if chat.n is not None and chat.n > limits.max_choices:
        raise LimitExceeded(f"n is {chat.n}, more than the {limits.max_choices} allowed", param="n")
    await server.engine.check_sampling(chat.sampling)
    return chat


@router.post(
    "/v1/chat/completions",
    summary="Answer a conversation",
    openapi_extra=request_body(chat_request_schema(), examples.REQUESTS),
    responses=described(
        ChatCompletion,
        "The answer, whole or streamed",
        content=ANSWER | event_stream(ChatCompletionChunk, examples.EVENTS),
    ),
)
async def chat_completions(request: Request, server: CurrentServer) -> Response:
    """Answers a conversation of text, images, videos and camera views; whole, or streamed."""
    with contextlib.ExitStack() as resources:
        context = resources.enter_context(server.admit(request))
        async with server.within_deadline(context):
            chat = await read_chat_request(request, server, context)
            answer = await unless_client_leaves(request, _answer(server, context, chat))
        if isinstance(answer, dict):
            return JSONResponse(answer, headers={"Server-Timing": context.timing.header()})
        return EventStream(answer, context, resources.pop_all())


async def _answer(
    server: ServerState, context: RequestContext, chat: chat_request.ChatRequest
) -> dict[str, Any] | AsyncGenerator[str, None]:
    """The answer as OpenAI's object, or a stream whose first event has come.

    The first event decides the status: an engine that refuses a streamed request raises it there.
    """
    rendered = await server.render(chat, context)
    salt = context.reservation.key if server.config.isolates_keys else ""
    answer = await server.engine.chat(rendered.token_ids, rendered.visuals, chat.sampling, context.timing, salt)
    if isinstance(answer, dict):
        return answer | {"media_usage": rendered.media_usage}
    first = with_fields(await anext(answer), media_usage=rendered.media_usage)
    return _events(first, answer, LastEventDetector(chat.sampling), context)


async def _events(
    first: str,
    rest: AsyncGenerator[str, None],
    is_last: LastEventDetector,
    context: RequestContext,
) -> AsyncGenerator[str, None]:
    """The engine's events, the last of them with the durations of the request's phases; at its end, why it ended."""
    yield first
    async with contextlib.aclosing(rest):
        while True:
            try:
                async with context.limited():
                    event = await anext(rest, None)
            except ServeError as error:
                yield f"data: {json.dumps(error_body(error))}\n\n"
                yield "data: [DONE]\n\n"
                return
            if event is None:
                return
            yield with_fields(event, server_timing=context.timing.milliseconds()) if is_last(event) else event
