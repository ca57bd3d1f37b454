"""Attacks 25 and 26: more than there is room for, and clients that go away."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from llava_interleave_serve.server.limits import Limits
from tests.support import attacked_server, scene_parts
from tests.support.attacked_server import CHAT, Attacked, part, refusal, request

PATIENCE = 10.0  # seconds until something must have happened, on however busy a machine
ROOM = Limits(max_requests=2, max_visuals=6, max_inflight_visuals=6, max_body_bytes=10**6, max_inflight_bytes=1_500_000)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Attacked]:
    with attacked_server.running(tmp_path, limits=ROOM) as target:
        yield target
        eventually(lambda: set(inflight(target).values()) == {0.0})


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def inflight(target: Attacked) -> dict[str, float]:
    """What the requests in the server take up."""
    lines = [line for line in target.client.get("/metrics").text.splitlines() if line.startswith("lis_inflight{")]
    return {line.partition('"')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines}


@contextlib.contextmanager
def held(target: Attacked, *requests: dict[str, Any]) -> Iterator[list[Future[httpx.Response]]]:
    """Requests that are in the engine until the block ends."""
    target.engine.goes_on = asyncio.Event()
    before = len(target.engine.asked)
    with ThreadPoolExecutor(len(requests)) as threads:
        answers = [threads.submit(httpx.post, target.server.url + CHAT, json=asked, timeout=60) for asked in requests]
        try:
            eventually(lambda: len(target.engine.asked) == before + len(requests))
            yield answers
        finally:
            target.server.loop.call_soon_threadsafe(target.engine.goes_on.set)


def overloaded(answer: httpx.Response) -> None:
    refusal(answer, 429)
    assert answer.json()["error"]["code"] == "overloaded"
    assert int(answer.headers["retry-after"]) > 0


TEXT = request(scene_parts.text_part("x"))


class Test25:
    def test_25_a_full_server_refuses_before_anything_is_fetched(self, target: Attacked) -> None:
        with held(target, TEXT, TEXT) as answers:
            for stream in (False, True):
                overloaded(target.ask(part("image_url", target.out("content/picture")), stream=stream))
            assert target.outside.asked == []
        assert [answer.result().status_code for answer in answers] == [200, 200]

    def test_25_and_before_the_body_comes(self, target: Attacked) -> None:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n"
        with held(target, TEXT, TEXT):
            answer = target.raw(f"{head}Connection: close\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 429 "), answer
        with socket.create_connection(("127.0.0.1", target.server.port)) as slow:
            slow.sendall(f"{head}\r\n".encode())
            eventually(lambda: inflight(target)["bytes"] == 900_000)
            answer = target.raw(f"{head}Connection: close\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 429 "), answer
            assert target.client.post(CHAT, json=TEXT).status_code == 200

    def test_25_there_is_room_for_so_many_visuals(self, target: Attacked) -> None:
        with held(target, request(*[scene_parts.image_part(number) for number in range(4)])):
            urls = [{"url": target.out(f"content/picture?{number}")} for number in range(3)]
            overloaded(target.ask(part("multi_view", views=urls)))
            assert target.outside.asked == []
            target.server.loop.call_soon_threadsafe(target.engine.goes_on.set)
        assert target.ask(part("multi_view", views=urls)).status_code == 200


def sent(target: Attacked, body: dict[str, Any], share: float = 1.0) -> socket.socket:
    """A connection over which that share of a request went."""
    content = json.dumps(body).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", target.server.port))
    connection.sendall(head.encode() + content[: int(len(content) * share)])
    return connection


class Test26:
    """That everything is freed is checked after each test."""

    def test_26_a_client_that_leaves_while_it_sends(self, target: Attacked) -> None:
        for share in (0.0, 0.5, 0.99):
            with sent(target, request(scene_parts.image_part(1)), share):
                eventually(lambda: inflight(target)["requests"] == 1)
            eventually(lambda: inflight(target)["requests"] == 0)
        assert target.engine.asked == []

    @pytest.mark.parametrize("path", ["silent/", "slow/"])
    def test_26_a_client_that_leaves_while_its_media_is_fetched(self, tmp_path: Path, path: str) -> None:
        with attacked_server.running(tmp_path, limits=Limits()) as target:
            with sent(target, request(part("image_url", target.out(path)))):
                eventually(lambda: target.outside.asked == [f"/{path}"])
            eventually(lambda: set(inflight(target).values()) == {0.0})
            assert target.engine.asked == []
            target.is_unharmed()

    def test_26_a_client_that_leaves_while_it_waits(self, target: Attacked) -> None:
        target.engine.goes_on = asyncio.Event()
        with sent(target, request(scene_parts.image_part(1))):
            eventually(lambda: len(target.engine.asked) == 1)
        eventually(lambda: inflight(target)["requests"] == 0)
        target.engine.goes_on = None

    def test_26_a_client_that_leaves_while_it_is_answered(self, target: Attacked) -> None:
        target.engine.events *= 5000
        target.engine.seconds_between = 0.01
        with sent(target, request(scene_parts.image_part(1), stream=True)) as connection:
            while b"data:" not in connection.recv(1 << 16):
                pass
            assert target.engine.streams_open == 1
        eventually(lambda: target.engine.streams_open == 0)

    def test_26_a_hundred_that_leave_at_once(self, target: Attacked) -> None:
        target.engine.goes_on = asyncio.Event()
        for number in range(100):
            sent(target, request(scene_parts.image_part(number % 5)), (number % 10 + 1) / 10).close()
        eventually(lambda: inflight(target)["requests"] == 0)
        target.engine.goes_on = None
