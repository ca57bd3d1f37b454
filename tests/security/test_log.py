"""Clients that try to fill the log."""

import asyncio
import contextlib
import gc
import json
import logging
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

from llava_interleave_serve.server.errors import EngineRefusal
from llava_interleave_serve.server.limits import Limits
from tests.support import attacked_server, scene_parts
from tests.support.attacked_server import CHAT, PLAN, AttackedServer, chat_body, media_part, raw_request

TIMES = 10
LIMITS = Limits(read_timeout=0.3, write_timeout=0.3, head_timeout=0.5, request_timeout=5.0, fetch_timeout=1.0)
TEXT = json.dumps(chat_body(scene_parts.text_part("x")))
STREAM = json.dumps(chat_body(scene_parts.text_part("x"), stream=True))
JSON = "Content-Type: application/json"


def post(body: str, path: str = CHAT, length: int = 0) -> bytes:
    return raw_request(f"POST {path} HTTP/1.1", JSON, f"Content-Length: {length or len(body)}", body=body.encode())


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedServer]:
    with attacked_server.running(tmp_path_factory.mktemp("allowed"), limits=LIMITS) as target:
        yield target


def send_and_leave(target: AttackedServer, data: bytes, *, abruptly: bool, wait: float = 0.05) -> None:
    with socket.create_connection(("127.0.0.1", target.server.port)) as connection, contextlib.suppress(OSError):
        if abruptly:  # a reset instead of an orderly end
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(data)
        time.sleep(wait)


def settle(target: AttackedServer) -> None:
    """Waits until no request is in the server, and has asyncio report on tasks that nobody has looked at."""
    deadline = time.monotonic() + 10
    while 'lis_inflight{of="requests"} 0.0' not in target.client.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)
    gc.collect()


class TestLogNoise:
    @pytest.mark.parametrize("abruptly", [False, True], ids=["end", "reset"])
    @pytest.mark.parametrize(
        "data",
        [
            b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\n\r\n",
            post(TEXT, length=10_000), post(TEXT, PLAN, length=10_000), post(TEXT), post(STREAM), post(TEXT, PLAN),
            post("{" * 1000), post(TEXT).replace(b"/json", b"/x"), raw_request(f"DELETE {CHAT} HTTP/1.1"),
            raw_request(f"POST {CHAT} HTTP/1.1", JSON, "Transfer-Encoding: chunked", body=b"2\r\n{}\r\nX"),
            post(STREAM).replace(b"Connection: close", b"Upgrade: websocket\r\nConnection: Upgrade"),
            post(TEXT).replace(b"Connection: close\r\n", b"") * 5, post(json.dumps(chat_body({"type": "\ud800"}))),
        ],
        ids=range(16),
    )  # fmt: skip
    def test_a_client_that_leaves_or_sends_nonsense_is_one_line_at_most(
        self, target: AttackedServer, caplog: pytest.LogCaptureFixture, data: bytes, abruptly: bool
    ) -> None:
        target.engine.seconds_between = 0.2
        for _ in range(TIMES):
            send_and_leave(target, data, abruptly=abruptly)
        settle(target)
        target.engine.seconds_between = 0.0
        assert_quiet(caplog)

    @pytest.mark.parametrize("path", ["silent/", "slow/"])
    def test_a_client_that_leaves_while_its_media_is_fetched_is_one_line_at_most(
        self, target: AttackedServer, caplog: pytest.LogCaptureFixture, path: str
    ) -> None:
        for number in range(TIMES):
            url = target.media_url(f"{path}?{number}")
            body = chat_body(media_part("image_url", url), media_part("video_url", url))
            send_and_leave(target, post(json.dumps(body)), abruptly=False)
        settle(target)
        assert_quiet(caplog)

    @pytest.mark.parametrize("body", [TEXT, STREAM], ids=["whole", "stream"])
    def test_a_client_that_leaves_while_the_engine_answers_is_one_line_at_most(
        self, target: AttackedServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, body: str
    ) -> None:
        async def chat(*args: Any) -> Any:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:  # vLLM does so
                raise EngineRefusal("Client disconnected") from None

        monkeypatch.setattr(target.engine, "chat", chat)
        for _ in range(TIMES):
            send_and_leave(target, post(body), abruptly=False, wait=0.1)
        settle(target)
        assert_quiet(caplog)

    def test_a_client_that_does_not_read_is_one_line_at_most(
        self, target: AttackedServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        events = target.engine.events
        target.engine.events = [json.dumps({"choices": [{"delta": {"content": "x" * 100_000}}]})] * 100_000
        for _ in range(3):
            send_and_leave(target, post(STREAM), abruptly=False, wait=1.5)
        settle(target)
        target.engine.events = events
        assert_quiet(caplog)


def assert_quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Asserts that there is at most one line for each of TIMES clients, and no stack."""
    records = [record for record in caplog.records if record.levelno > logging.INFO]
    assert len(records) <= TIMES, [record.getMessage() for record in records]
    assert not [record.getMessage() for record in records if record.exc_info]
    assert not [record for record in records if "\n" in record.getMessage()]
