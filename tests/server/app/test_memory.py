"""What a request held is free when it has been refused, without the garbage collector."""

import asyncio
import gc
import tracemalloc
import weakref
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI

from llava_interleave_serve.server.app import create_app
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.media.access import Access
from tests.support import app_client, scene_parts
from tests.support.app_client import CHAT, PLAN, body
from tests.support.fakes import media_host
from tests.support.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio
PATIENCE = 5.0  # seconds that threads may take to let go of what they worked on


@asynccontextmanager
async def freed_without_the_garbage_collector(most: int = 1 << 20) -> AsyncIterator[None]:
    """Asserts that the block leaves at most so many bytes in memory while the garbage collector is off."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while (left := tracemalloc.get_traced_memory()[0] - before) > most:
            assert asyncio.get_running_loop().time() < deadline, f"{left} bytes are still there"
            await asyncio.sleep(0.01)
    finally:
        tracemalloc.stop()
        gc.enable()


def data_part(kind: str, megabytes: int) -> dict[str, Any]:
    url = f"data:{kind}/png;base64," + "A" * (megabytes << 20)
    match kind:
        case "image":
            return {"type": "image_url", "image_url": {"url": url}}
        case _:
            return {"type": "video_url", "video_url": {"url": url}}


async def status_of(app: FastAPI, path: str, chat: dict[str, Any]) -> int:
    """The status of the answer to a request."""
    statuses: list[int] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app_client.ask_directly(app, path, chat, send)
    return statuses[0]


@pytest.mark.parametrize(
    ("path", "chat"),
    [
        pytest.param(CHAT, lambda size: body(data_part("image", size)), id="an image"),
        pytest.param(CHAT, lambda size: body(data_part("video", size)), id="a video"),
        pytest.param(CHAT, lambda size: body(data_part("image", size), data_part("video", size)), id="both"),
        pytest.param(
            CHAT,
            lambda size: body(
                {"type": "multi_view", "multi_view": {"views": [data_part("image", size)["image_url"]] * 2}}
            ),
            id="views",
        ),
        pytest.param(CHAT, lambda size: body({"type": "text", "text": "a" * (size << 20)}), id="text"),
        pytest.param(PLAN, lambda size: body({"type": "text", "text": "a" * (size << 20)}), id="text of a plan"),
        pytest.param(CHAT, lambda size: body(data_part("image", size), nonsense=1), id="an unknown field"),
        pytest.param(CHAT, lambda size: body({"type": "image_url", "image_url": "x" * (size << 20)}), id="no object"),
    ],
)
async def test_a_refused_request_is_freed_without_the_garbage_collector(path: str, chat: Any) -> None:
    app = create_app(FakeEngine(), ServerConfig())
    async with app.router.lifespan_context(app):
        assert await status_of(app, path, chat(1)) == 400
        async with freed_without_the_garbage_collector():
            assert await status_of(app, path, chat(8)) == 400


async def test_a_refused_file_is_freed_without_the_garbage_collector() -> None:
    access = Access(allowed_hosts=frozenset({"127.0.0.1"}))
    app = create_app(FakeEngine(), ServerConfig(access=access))
    async with media_host.listening() as host, app.router.lifespan_context(app):
        host.contents["/large"] = b"no picture" + bytes(8 << 20)
        chats = [
            body({"type": "image_url", "image_url": {"url": f"http://127.0.0.1:{host.port}/{path}"}})
            for path in ("small", "large")
        ]
        assert await status_of(app, CHAT, chats[0]) == 400
        async with freed_without_the_garbage_collector():
            assert await status_of(app, CHAT, chats[1]) == 400


class TakingEngine(FakeEngine):
    """An engine that takes the visuals out of the request's list, as vLLM's does; `views` are those that it had."""

    async def chat(self, token_ids: Any, visuals: Any, *args: Any) -> Any:
        self.views = [weakref.ref(visual.views.base) for visual in visuals]
        visuals.clear()
        return await super().chat(token_ids, visuals, *args)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_holds_no_pixels_while_the_engine_answers(stream: bool) -> None:
    engine = TakingEngine()
    engine.goes_on = asyncio.Event()
    async with app_client.serving(engine) as client:
        content = [scene_parts.image_part(1), scene_parts.image_part(2), scene_parts.text_part("?")]
        answering = asyncio.create_task(client.post(CHAT, json=body(*content, stream=stream)))
        await engine.was_asked.wait()
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while any(view() is not None for view in engine.views):
            assert asyncio.get_running_loop().time() < deadline, "the pixels are still there"
            await asyncio.sleep(0.01)
        assert len(engine.views) == 2
        engine.goes_on.set()
        assert (await answering).status_code == 200
