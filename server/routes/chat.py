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
from llava_interleave_serve.server.errors import DeadlineExceeded, LimitExceeded, ServeError, body
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.request_context import Service, ServiceOf, Visit
from llava_interleave_serve.server.sse import EventStream, LastEvent, data_of, with_fields

T = TypeVar("T")
router = APIRouter()
BODY_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": chat_request.ChatRequest.model_json_schema(ref_template="#/$defs/{model}")}
        },
    }
}
GONE = 499  # what nginx logs for a client that left; nobody receives it


async def parse(request: Request, service: Service, visit: Visit) -> chat_request.ChatRequest:
    """The body as a chat request. Raises RequestError naming the field at fault."""
    limits = service.config.limits
    chat = chat_request.parse(await read_json(request, limits, visit.place))
    n = chat.sampling.get("n", 1)
    if isinstance(n, int) and n > limits.max_choices:
        raise LimitExceeded(f"n is {n}, more than the {limits.max_choices} allowed", param="n")
    return chat


@router.post("/v1/chat/completions", openapi_extra=BODY_SCHEMA)
async def chat_completions(request: Request, service: ServiceOf) -> Response:
    """Answers a conversation of text, images, videos and camera views; whole, or streamed."""
    with contextlib.ExitStack() as stay:
        visit = stay.enter_context(service.visit(request))
        try:
            async with asyncio.timeout_at(visit.deadline):
                chat = await parse(request, service, visit)
                answer = await until_gone(request, _answer(service, visit, chat))
        except ClientDisconnect:
            return Response(status_code=GONE)
        except TimeoutError:
            raise _too_late(service) from None
        if isinstance(answer, dict):
            return JSONResponse(answer, headers={"Server-Timing": visit.phases.header()})
        if answer is not None:
            return EventStream(answer, visit, stay.pop_all())
    return Response(status_code=GONE)


async def _answer(
    service: Service, visit: Visit, chat: chat_request.ChatRequest
) -> dict[str, Any] | AsyncGenerator[str, None]:
    """The answer; a stream of it once its first event, which decides the status, has come."""
    rendered = await service.render(chat, visit)
    answer = await service.engine.chat(rendered.token_ids, rendered.visuals, chat.sampling, visit.phases)
    if isinstance(answer, dict):
        return answer | {"media_usage": rendered.account}
    first = await anext(answer)
    if (error := _error_in(first)) is not None:
        raise error
    first = with_fields(first, media_usage=rendered.account)
    return _events(first, answer, LastEvent(chat.sampling), service, visit)


def _too_late(service: Service) -> DeadlineExceeded:
    return DeadlineExceeded(f"the answer had not ended {service.config.limits.request_timeout:g} s after its request")


async def _events(
    first: str, rest: AsyncGenerator[str, None], is_last: LastEvent, service: Service, visit: Visit
) -> AsyncGenerator[str, None]:
    """The engine's events, the phases in the last of them."""
    loop = asyncio.get_running_loop()
    yield first
    async with contextlib.aclosing(rest):
        async for event in rest:
            if loop.time() > visit.deadline:
                yield f"data: {json.dumps(body(_too_late(service)))}\n\n"
                yield "data: [DONE]\n\n"
                return
            yield with_fields(event, server_timing=visit.phases.milliseconds()) if is_last(event) else event


def _error_in(event: str) -> ServeError | None:
    error = data_of(event).get("error")
    if error is None:
        return None
    failed = ServeError(str(error["message"]), param=error.get("param"))
    failed.status = error["code"] if isinstance(error.get("code"), int) else failed.status
    failed.type = error.get("type") or failed.type
    return failed


async def until_gone(request: Request, work: Awaitable[T]) -> T | None:
    """The work's result; None if the client leaves before, and then the work is cancelled, whatever it waits for."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        gone.cancel()
        task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
