"""A client of the application over a fake engine, without a socket between them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from llava_interleave_serve.server.app import create_app
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.request_context import ServerState
from tests.support import scene_parts
from tests.support.fakes.engine import FakeEngine

CHAT, PLAN = "/v1/chat/completions", "/v1/chat/completions/plan"


class AppClient(httpx.AsyncClient):
    """A client that also gives access to the state behind the application."""

    server: ServerState


@asynccontextmanager
async def serving(engine: FakeEngine | None = None, **config: Any) -> AsyncIterator[AppClient]:
    app = create_app(engine or FakeEngine(), ServerConfig(**config))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        AppClient(transport=transport, base_url="http://server") as client,
    ):
        client.server = app.state.server  # for those who look inside
        yield client


def body(*content: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}], **fields}


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """The events of an answer that was streamed to its end, without the [DONE] after them."""
    *found, end = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert end == "[DONE]"
    return [json.loads(event) for event in found]


HELLO = body(scene_parts.text_part("Hello!"))
