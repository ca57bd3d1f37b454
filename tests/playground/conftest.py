"""Pages in Chromium: every test's page reports what it asks other hosts for, and what went wrong in it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.playground import chromium as installed
from tests.support import app_server, demo_server, scene_parts
from tests.support.app_server import ServedApp
from tests.support.demo_server import RunningServer
from tests.support.fakes.engine import FakeEngine

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTH, HEIGHT = 1240, 900
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": "fake"}


def answering(*words: str) -> FakeEngine:
    """An engine that answers with these words, one an event."""
    engine = FakeEngine()
    choices = [{"index": 0, "delta": {"content": word}} for word in words]
    events = [{**HEAD, "choices": [choice]} for choice in choices]
    events.append({**HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = {"prompt_tokens": 60, "completion_tokens": len(words), "total_tokens": 60 + len(words)}
    events.append({**HEAD, "choices": [], "usage": usage})
    engine.events = [json.dumps(event) for event in events]
    return engine


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=installed.path())
        yield opened
        opened.close()


@pytest.fixture
def options() -> dict[str, Any]:
    """Of the browser: tests of other widths and colours replace it."""
    return {"viewport": {"width": WIDTH, "height": HEIGHT}}


@pytest.fixture
def page(chromium: "Browser", options: dict[str, Any]) -> "Iterator[Page]":
    """A page. In the end it must have asked nobody but its own server, and have had no error."""
    context = chromium.new_context(**options)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if _is_problem(message) else None)
    opened.on("request", lambda request: problems.append(request.url) if not _is_local(request.url) else None)
    yield opened
    context.close()
    assert problems == []


def _is_problem(message: Any) -> bool:
    # Chromium writes a line for each response of 4xx and 5xx, which are what some tests are about.
    return message.type == "error" and "Failed to load resource" not in message.text


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "blob:", "data:"))


@pytest.fixture
def served() -> Iterator[ServedApp]:
    with app_server.in_thread(answering("A ", "red ", "circle.")) as server:
        yield server


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with demo_server.start(tmp_path_factory.mktemp("demo")) as server:
        yield server


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Files of four pictures: red.png, green.png, blue.png and yellow.png."""
    import base64

    files = [tmp_path / f"{name}.png" for name in ("red", "green", "blue", "yellow")]
    for number, file in enumerate(files):
        file.write_bytes(base64.b64decode(scene_parts.image_url(number).partition(",")[2]))
    return files
