"""POST /v1/chat/completions."""

import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from llava_interleave_serve.server.errors import EngineRefusal, LimitExceeded, ServeError
from llava_interleave_serve.server.http.error_responses import error_body
from llava_interleave_serve.server.prompt import chat_request, request_counts
from llava_interleave_serve.server.request_context import (
    CurrentServer,
    RequestContext,
    ServerState,
    unless_client_leaves,
)
from llava_interleave_serve.server.sse import EventStream, LastEventDetector, event_data, with_fields

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


async def read_chat_request(request: Request, server: ServerState, context: RequestContext) -> chat_request.ChatRequest:
    """The body as a chat request. Raises RequestError naming the field at fault."""
    limits = server.config.limits

    def validate(body: Any) -> chat_request.ChatRequest:
        request_counts.check(body, limits)
        return chat_request.parse(body)

    chat = await server.bodies.read_json(request, context.reservation, context.requester, validate)
    n = chat.sampling.get("n", 1)
    if isinstance(n, int) and n > limits.max_choices:
        raise LimitExceeded(f"n is {n}, more than the {limits.max_choices} allowed", param="n")
    return chat


@router.post("/v1/chat/completions", openapi_extra=BODY_SCHEMA)
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


def _error_of_event(event: str) -> ServeError | None:
    """The error that an event of vLLM's carries, if it carries one."""
    error = event_data(event).get("error")
    if error is None:
        return None
    status = error.get("code")
    if isinstance(status, int) and status < ServeError.status:
        return EngineRefusal(str(error["message"]), param=error.get("param"), status=status)
    return ServeError(str(error["message"]), param=error.get("param"))
