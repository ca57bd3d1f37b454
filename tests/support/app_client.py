"""A client of the application over a fake engine, without a socket between them."""

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


HELLO = body(scene_parts.text_part("Hello!"))
