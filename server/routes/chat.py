"""POST /v1/chat/completions."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from llava_interleave_serve.server import protocol
from llava_interleave_serve.server.body import read_json
from llava_interleave_serve.server.errors import LimitExceeded, ServeError
from llava_interleave_serve.server.service import Service, ServiceOf

T = TypeVar("T")
router = APIRouter()
BODY_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": protocol.ChatRequest.model_json_schema(ref_template="#/$defs/{model}")}
        },
    }
}
GONE = 499  # what nginx logs for a client that left; nobody receives it


async def parse(request: Request, service: Service) -> protocol.ChatRequest:
    """The body as a chat request. Raises RequestError naming the field at fault."""
    chat = protocol.parse(await read_json(request, service.config.limits.max_body_bytes))
    n = chat.sampling.get("n", 1)
    if isinstance(n, int) and n > service.config.limits.max_choices:
        raise LimitExceeded(f"n is {n}, more than the {service.config.limits.max_choices} allowed", param="n")
    return chat


@router.post("/v1/chat/completions", openapi_extra=BODY_SCHEMA)
async def chat_completions(request: Request, service: ServiceOf) -> Response:
    """Answers a conversation of text, images, videos and camera views; whole, or streamed."""
    chat = await parse(request, service)
    answer = await until_gone(request, _answer(service, chat))
    return answer if answer is not None else Response(status_code=GONE)


async def _answer(service: Service, chat: protocol.ChatRequest) -> Response:
    rendered = await service.render(chat)
    answer = await service.engine.chat(rendered.token_ids, rendered.visuals, chat.sampling)
    if isinstance(answer, dict):
        return JSONResponse(answer | {"media_usage": rendered.account})
    # The first event decides the status: a stream that fails at once is no 200.
    first = await anext(answer)
    if (error := _error_in(first)) is not None:
        raise error
    return StreamingResponse(_events(first, answer, rendered.account), media_type="text/event-stream")


async def _events(first: str, rest: AsyncGenerator[str, None], account: dict[str, Any]) -> AsyncGenerator[str, None]:
    """The engine's events, the account of the media in the first of them."""
    yield f"data: {json.dumps(_data(first) | {'media_usage': account})}\n\n"
    async with contextlib.aclosing(rest):
        async for event in rest:
            yield event


def _data(event: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(event.removeprefix("data: "))
    return data


def _error_in(event: str) -> ServeError | None:
    error = _data(event).get("error")
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
