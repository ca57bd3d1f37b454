"""A client of the application over a fake engine, without a socket between them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from llava_interleave_serve.server.app import create_app
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.request_context import ServerState
from tests.support import scene_parts
from tests.support.fakes.engine import FakeEngine

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
CHAT, PLAN = "/v1/chat/completions", "/v1/chat/completions/plan"


class AppClient(httpx.AsyncClient):
    """A client that also gives access to the application and to the state behind it."""

    app: FastAPI
    server: ServerState


@asynccontextmanager
async def serving(engine: FakeEngine | None = None, **config: Any) -> AsyncIterator[AppClient]:
    app = create_app(engine or FakeEngine(), ServerConfig(**config))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        AppClient(transport=transport, base_url="http://server") as client,
    ):
        client.app, client.server = app, app.state.server  # for those who look inside
        yield client


async def ask_directly(
    app: FastAPI, path: str, body: dict[str, Any], send: Send, leaves: asyncio.Event | None = None
) -> None:
    """Sends a request without an HTTP client, which might hold what it has sent, until the application has answered.

    send: takes the messages of the answer. leaves: set when the client disconnects.
    """
    messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await (leaves or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"application/json")], "client": ("127.0.0.1", 1), "server": ("x", 1),
    }  # fmt: skip
    await app(scope, receive, send)


def body(*content: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}], **fields}


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """The events of an answer that was streamed to its end, without the [DONE] after them."""
    *found, end = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert end == "[DONE]"
    return [json.loads(event) for event in found]


HELLO = body(scene_parts.text_part("Hello!"))
