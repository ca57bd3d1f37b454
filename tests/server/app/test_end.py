"""A server that is told to stop serves on for a while, then finishes or ends what runs; who leaves is not logged."""

import asyncio
import contextlib
import gc
import json
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from llava_interleave_serve.server.admission import Load
from llava_interleave_serve.server.errors import EngineRefusal
from tests.support import app_server
from tests.support.app_client import CHAT, HELLO, PLAN, AppClient, ask_directly, serving
from tests.support.demo_server import RunningServer
from tests.support.fakes.engine import FakeEngine

JSON_TYPE = {"Content-Type": "application/json"}


async def ended_once_inside(client: AppClient, **request: Any) -> httpx.Response:
    """The answer to a request that is in the server when that ends its requests."""
    asking = asyncio.create_task(client.post(**request))
    while client.server.admission.load == Load():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.01)
    client.server.end_requests()
    answer = await asyncio.wait_for(asking, 5)
    assert client.server.admission.load == Load()
    assert not client.server.running
    return answer


@pytest.mark.anyio
class TestEndedRequests:
    @pytest.mark.parametrize("path", [CHAT, PLAN])
    async def test_a_request_whose_body_has_not_come_gets_a_503(self, path: str) -> None:
        async def never() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

        async with serving() as client:
            answer = await ended_once_inside(client, url=path, content=never(), headers=JSON_TYPE)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_request_whose_answer_has_not_begun_gets_a_503(self, stream: bool) -> None:
        engine = FakeEngine()
        engine.goes_on = asyncio.Event()
        async with serving(engine) as client:
            answer = await ended_once_inside(client, url=CHAT, json=HELLO | {"stream": stream})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")

    @pytest.mark.parametrize("seconds_between", [0.0, 0.05, 60.0], ids=["busy", "slow", "silent"])
    async def test_a_stream_ends_with_an_error_event_and_done(self, seconds_between: float) -> None:
        engine = FakeEngine()
        engine.events = engine.events[:1] * 1_000_000
        async with serving(engine) as client:
            asking = asyncio.create_task(client.post(CHAT, json=HELLO | {"stream": True}))
            while not engine.streams_open:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0)
            engine.seconds_between = seconds_between
            await asyncio.sleep(0.05)
            client.server.end_requests()
            answer = await asyncio.wait_for(asking, 5)
            assert client.server.admission.load == Load()
        assert engine.streams_open == 0
        events = answer.text.split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        error = json.loads(events[-3].removeprefix("data: "))["error"]
        assert (error["code"], error["type"]) == ("unavailable", "service_unavailable")
        assert "choices" in events[-4]


@pytest.mark.anyio
class TestClientsThatLeave:
    @pytest.mark.parametrize("stream", [False, True])
    async def test_what_the_engine_raises_when_its_client_has_left_is_not_logged(
        self, stream: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Engine(FakeEngine):
            """Turns its cancellation into an error, as vLLM does."""

            async def chat(self, *args: Any) -> Any:
                self.was_asked.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    await asyncio.sleep(0.01)
                    raise EngineRefusal("Client disconnected") from None

        engine = Engine()
        async with serving(engine) as client:
            asking = asyncio.create_task(
                ask_directly(client.app, CHAT, HELLO | {"stream": stream}, ignore, engine.was_asked)
            )
            await asyncio.wait_for(asking, 5)
            await asyncio.sleep(0.1)
            gc.collect()
            await asyncio.sleep(0)
        assert [record.message for record in caplog.records if record.levelno > logging.INFO] == []


async def ignore(message: MutableMapping[str, Any]) -> None:
    """Takes a message of an answer that its client no longer waits for."""


def stream_of(server: RunningServer, received: list[str]) -> threading.Thread:
    """A thread that reads a stream; returns once it has begun."""

    def read() -> None:
        with httpx.stream("POST", f"{server.url}{CHAT}", json=HELLO | {"stream": True}, timeout=60) as answer:
            for line in filter(None, answer.iter_lines()):
                received.append(line)  # noqa: PERF402 - one by one, for others to see

    thread = threading.Thread(target=read)
    thread.start()
    deadline = time.monotonic() + 10
    while not received:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return thread


def status(server: RunningServer, path: str, **body: Any) -> int | None:
    """The status of a route; None if nobody listens."""
    with contextlib.suppress(httpx.TransportError):
        method = "POST" if body else "GET"
        return httpx.request(method, f"{server.url}{path}", json=body or None, timeout=10).status_code
    return None


class TestSigterm:
    def test_requests_are_served_while_ready_is_red_until_the_delay_has_passed(self, tmp_path: Path) -> None:
        with app_server.in_process(tmp_path, "--drain-delay", "2") as server, httpx.Client(base_url=server.url) as kept:
            assert kept.get("/health").headers.get("connection") is None
            server.process.send_signal(signal.SIGTERM)
            time.sleep(1.3)
            assert status(server, "/ready") == 503
            assert status(server, "/health") == 200
            assert status(server, CHAT, **HELLO) == 200
            assert kept.get("/health").headers["connection"] == "close"
            assert server.process.wait(10) == 0
            assert status(server, "/health") is None

    @pytest.mark.parametrize(("delay", "number"), [("0", signal.SIGTERM), ("30", signal.SIGINT), ("30", None)])
    def test_without_a_delay_by_ctrl_c_or_a_second_signal_the_server_ends_at_once(
        self, tmp_path: Path, delay: str, number: int | None
    ) -> None:
        with app_server.in_process(tmp_path, "--drain-delay", delay) as server:
            for each in [number] if number is not None else [signal.SIGTERM, signal.SIGTERM]:
                server.process.send_signal(each)
                time.sleep(0.3)
            assert server.process.wait(5) == 0

    def test_a_running_stream_is_finished(self, tmp_path: Path) -> None:
        received: list[str] = []
        with app_server.in_process(tmp_path, "--events", "20", "--drain-timeout", "10") as server:
            reading = stream_of(server, received)
            server.process.send_signal(signal.SIGTERM)
            reading.join()
            assert server.process.wait(10) == 0
        assert len(received) == 21
        assert received[-1] == "data: [DONE]"

    def test_a_stream_that_runs_on_is_ended_with_an_error_event(self, tmp_path: Path) -> None:
        received: list[str] = []
        with app_server.in_process(tmp_path, "--events", "10000", "--drain-timeout", "1") as server:
            reading = stream_of(server, received)
            server.process.send_signal(signal.SIGTERM)
            reading.join()
            assert server.process.wait(10) == 0
            assert "Traceback" not in server.log.read_text()
        assert received[-1] == "data: [DONE]"
        assert json.loads(received[-2].removeprefix("data: "))["error"]["code"] == "unavailable"
