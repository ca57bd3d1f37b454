"""More requests than the server has capacity for, and clients that disconnect."""

import asyncio
import contextlib
import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from llava_interleave_serve.server.limits import Limits
from tests.support import attacked_server, scene_parts, vllm_scheduler
from tests.support.attacked_server import CHAT, PLAN, AttackedServer, assert_refused, chat_body, media_part

TIMEOUT = 10.0  # seconds that a condition may take to become true, on however busy a machine
LIMITS = Limits(
    max_requests=2, max_visuals=6, max_inflight_visuals=6, max_body_bytes=10**6, max_inflight_bytes=1_500_000
)
VISUAL_ROWS = {"unpooled": 729, "bilinear 2": 196, "average 2": 169, "stride 4": 36}


@pytest.fixture
def target(tmp_path: Path) -> Iterator[AttackedServer]:
    """A server of two requests at once, whose capacity must be free again when the test ends."""
    with attacked_server.running(tmp_path, limits=LIMITS) as target:
        yield target
        wait_until(lambda: set(inflight(target).values()) == {0.0})


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for the condition; fails if it stays false for TIMEOUT seconds."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def inflight(target: AttackedServer) -> dict[str, float]:
    """The capacity that the requests in the server take up, by measure."""
    lines = [line for line in target.client.get("/metrics").text.splitlines() if line.startswith("lis_inflight{")]
    return {line.partition('"')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines}


def refusals(target: AttackedServer) -> set[str]:
    """The counters of refused requests, as text."""
    return {line for line in target.client.get("/metrics").text.splitlines() if line.startswith("lis_refusals_total{")}


@contextlib.contextmanager
def requests_in_engine(target: AttackedServer, *requests: dict[str, Any]) -> Iterator[list[Future[httpx.Response]]]:
    """Sends requests that the engine does not answer until the block ends; yields their responses."""
    target.engine.goes_on = asyncio.Event()
    before = len(target.engine.asked)
    with ThreadPoolExecutor(len(requests)) as threads:
        responses = [threads.submit(httpx.post, target.server.url + CHAT, json=body, timeout=60) for body in requests]
        try:
            wait_until(lambda: len(target.engine.asked) == before + len(requests))
            yield responses
        finally:
            target.server.loop.call_soon_threadsafe(target.engine.goes_on.set)


def assert_overloaded(response: httpx.Response) -> None:
    assert_refused(response, 429)
    assert response.json()["error"]["code"] == "overloaded"
    assert int(response.headers["retry-after"]) > 0


TEXT = chat_body(scene_parts.text_part("x"))


class TestOverload:
    def test_a_full_server_refuses_before_any_media_is_fetched(self, target: AttackedServer) -> None:
        with requests_in_engine(target, TEXT, TEXT) as responses:
            for stream in (False, True):
                assert_overloaded(
                    target.chat(media_part("image_url", target.media_url("content/picture")), stream=stream)
                )
            assert target.media_host.requested_paths == []
        assert [response.result().status_code for response in responses] == [200, 200]

    def test_a_full_server_refuses_before_the_body_is_read(self, target: AttackedServer) -> None:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n"
        with requests_in_engine(target, TEXT, TEXT):
            response = target.send_bytes(f"{head}Connection: close\r\n\r\n".encode())
            assert response.startswith(b"HTTP/1.1 429 "), response
        with socket.create_connection(("127.0.0.1", target.server.port)) as slow:
            slow.sendall(f"{head}\r\n".encode())
            wait_until(lambda: inflight(target)["bytes"] == 900_000)
            response = target.send_bytes(f"{head}Connection: close\r\n\r\n".encode())
            assert response.startswith(b"HTTP/1.1 429 "), response
            assert target.client.post(CHAT, json=TEXT).status_code == 200

    def test_visuals_beyond_the_capacity_are_refused_before_any_fetch(self, target: AttackedServer) -> None:
        with requests_in_engine(target, chat_body(*[scene_parts.image_part(number) for number in range(4)])):
            urls = [{"url": target.media_url(f"content/picture?{number}")} for number in range(3)]
            assert_overloaded(target.chat(media_part("multi_view", views=urls)))
            assert target.media_host.requested_paths == []
        assert target.chat(media_part("multi_view", views=urls)).status_code == 200


def send_partly(target: AttackedServer, body: dict[str, Any], share: float = 1.0, path: str = CHAT) -> socket.socket:
    """Opens a connection and sends that share of the body of a request over it."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", target.server.port))
    connection.sendall(head.encode() + content[: int(len(content) * share)])
    return connection


class TestClientsThatDisconnect:
    """The fixture `target` asserts after each test that all capacity is free again."""

    def test_a_client_that_disconnects_while_it_sends_its_body_frees_its_capacity(self, target: AttackedServer) -> None:
        for share in (0.0, 0.5, 0.99):
            with send_partly(target, chat_body(scene_parts.image_part(1)), share):
                wait_until(lambda: inflight(target)["requests"] == 1)
            wait_until(lambda: inflight(target)["requests"] == 0)
        assert target.engine.asked == []

    @pytest.mark.parametrize("path", ["silent/", "slow/"])
    def test_a_client_that_disconnects_while_its_media_is_fetched_frees_its_capacity(
        self, tmp_path: Path, path: str
    ) -> None:
        with attacked_server.running(tmp_path, limits=Limits()) as target:
            with send_partly(target, chat_body(media_part("image_url", target.media_url(path)))):
                wait_until(lambda: target.media_host.requested_paths == [f"/{path}"])
            wait_until(lambda: set(inflight(target).values()) == {0.0})
            assert target.engine.asked == []
            target.assert_unharmed()

    @pytest.mark.parametrize("path", [CHAT, PLAN])
    def test_a_client_that_disconnects_while_it_sends_its_body_is_no_error_of_the_server(
        self, target: AttackedServer, caplog: pytest.LogCaptureFixture, path: str
    ) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
        before = refusals(target)
        with socket.create_connection(("127.0.0.1", target.server.port)) as connection:
            connection.sendall(head.encode())
            wait_until(lambda: inflight(target)["requests"] == 1)
        wait_until(lambda: inflight(target)["requests"] == 0)
        assert caplog.records == []
        assert refusals(target) == before

    @pytest.mark.parametrize(
        ("path", "body"),
        [(CHAT, chat_body(scene_parts.image_part(1))), ("/v1/completions", {"prompt": "x", "stream": True})],
    )
    def test_a_client_that_disconnects_while_the_engine_works_frees_its_capacity(
        self, target: AttackedServer, path: str, body: dict[str, Any]
    ) -> None:
        target.engine.goes_on = asyncio.Event()
        with send_partly(target, body, path=path):
            wait_until(lambda: len(target.engine.asked) == 1)
        wait_until(lambda: inflight(target)["requests"] == 0)
        target.engine.goes_on = None

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    @pytest.mark.parametrize("number", [1, 2, 50])
    def test_requests_behind_a_running_one_do_not_hide_that_the_client_disconnects(
        self, target: AttackedServer, number: int, stream: bool
    ) -> None:
        target.engine.goes_on = asyncio.Event()
        behind = [
            "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
            f"POST {CHAT} HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n{{",
        ]
        with send_partly(target, chat_body(scene_parts.text_part("x"), stream=stream)) as connection:
            wait_until(lambda: len(target.engine.asked) == 1)
            for index in range(number):
                connection.sendall(behind[index % 2].encode())
            time.sleep(0.2)  # the server reads them
            assert inflight(target)["requests"] == 1
        wait_until(lambda: inflight(target)["requests"] == 0)
        target.engine.goes_on = None

    def test_a_request_behind_a_running_one_ends_the_connection_after_the_answer(self, target: AttackedServer) -> None:
        with send_partly(target, chat_body(scene_parts.text_part("x"))) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while chunk := connection.recv(1 << 16):
                received += chunk
        assert received.startswith(b"HTTP/1.1 200 ")
        assert received.count(b"HTTP/1.1 ") in (1, 2)  # 2 if the answer came before the second request

    def test_a_client_that_disconnects_during_its_stream_ends_the_stream_of_the_engine(
        self, target: AttackedServer
    ) -> None:
        target.engine.events *= 5000
        target.engine.seconds_between = 0.01
        with send_partly(target, chat_body(scene_parts.image_part(1), stream=True)) as connection:
            while b"data:" not in connection.recv(1 << 16):
                pass
            assert target.engine.streams_open == 1
        wait_until(lambda: target.engine.streams_open == 0)

    def test_a_hundred_clients_that_disconnect_at_once_free_their_capacity(self, target: AttackedServer) -> None:
        target.engine.goes_on = asyncio.Event()
        for number in range(100):
            send_partly(target, chat_body(scene_parts.image_part(number % 5)), (number % 10 + 1) / 10).close()
        wait_until(lambda: inflight(target)["requests"] == 0)
        target.engine.goes_on = None


class TestClientsThatStall:
    @pytest.mark.parametrize("path", [CHAT, PLAN])
    def test_bodies_that_are_announced_and_come_byte_by_byte_take_no_capacity_of_others(
        self, tmp_path: Path, path: str
    ) -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {64 << 20}\r\n\r\n"
        )
        limits = Limits(read_timeout=2.0, request_timeout=60.0)
        with attacked_server.running(tmp_path, limits=limits) as target, contextlib.ExitStack() as connections:
            slow = [
                connections.enter_context(socket.create_connection(("127.0.0.1", target.server.port)))
                for _ in range(16)
            ]
            for connection in slow:
                connection.sendall(head.encode())
            wait_until(lambda: inflight(target)["requests"] == 16)
            assert inflight(target)["bytes"] <= 16 << 20
            assert target.client.post(CHAT, json=TEXT).status_code == 200
            ended: list[bytes] = []
            started = time.monotonic()
            while len(ended) < len(slow):
                assert time.monotonic() < started + TIMEOUT
                for connection in slow[len(ended) :]:
                    with contextlib.suppress(OSError):
                        connection.sendall(b" ")
                time.sleep(0.1)
                if inflight(target)["requests"] == 0:
                    ended = [connection.recv(1 << 16) for connection in slow]
            assert all(response.startswith(b"HTTP/1.1 408 ") for response in ended)
            target.assert_unharmed()

    def test_a_client_whose_body_stops_arriving_frees_its_capacity(self, tmp_path: Path) -> None:
        with attacked_server.running(tmp_path, limits=Limits(read_timeout=0.5)) as target:
            with send_partly(target, TEXT, 0.5) as connection:
                wait_until(lambda: inflight(target)["requests"] == 1)
                assert b"HTTP/1.1 408 " in connection.recv(1 << 16)
                wait_until(lambda: set(inflight(target).values()) == {0.0})
            target.assert_unharmed()

    def test_a_client_that_does_not_read_its_stream_is_cut_off(self, tmp_path: Path) -> None:
        with attacked_server.running(tmp_path, limits=Limits(request_timeout=1.0)) as target:
            # More than the buffers of both sockets hold, so that the server waits for the client.
            target.engine.events = [json.dumps({"choices": [{"delta": {"content": "x" * 100_000}}]})] * 10_000
            with send_partly(target, chat_body(scene_parts.text_part("x"), stream=True)):
                wait_until(lambda: target.engine.streams_open == 1)
                wait_until(lambda: target.engine.streams_open == 0)
                wait_until(lambda: set(inflight(target).values()) == {0.0})


class TestPooledVisuals:
    """They cost vLLM's scheduler few tokens, and the tower as much as unpooled ones."""

    @pytest.mark.parametrize("tokens_a_step", [2048, 8192, 16_384])
    @pytest.mark.parametrize("pooling", VISUAL_ROWS)
    def test_a_step_encodes_no_more_visuals_than_its_tokens_hold_unpooled(
        self, pooling: str, tokens_a_step: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        serving = vllm_scheduler.scheduler(tokens_a_step, 100_000, monkeypatch)
        for name in "abcdef":
            serving.add_request(vllm_scheduler.request(name, [VISUAL_ROWS[pooling]] * 40))
        numbers = vllm_scheduler.visuals_by_step(serving)
        assert max(numbers) == tokens_a_step // vllm_scheduler.PATCHES
        assert sum(numbers) == 240

    @pytest.mark.parametrize("seed", range(5))
    def test_requests_of_any_mix_that_are_preempted_encode_no_more_in_a_step(
        self, seed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        serving = vllm_scheduler.scheduler(8192, 2048 + 512, monkeypatch)  # room for one context and a quarter
        draw = random.Random(seed)
        requests = [
            vllm_scheduler.request(f"{number}", draw.choices(list(VISUAL_ROWS.values()), k=draw.randint(1, 40)))
            for number in range(12)
        ]
        for each in requests:
            serving.add_request(each)
        numbers = vllm_scheduler.visuals_by_step(serving)
        assert max(numbers) <= 11
        assert sum(numbers) >= sum(len(each.mm_features) for each in requests)

    def test_where_a_step_holds_no_whole_visual_one_is_encoded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        serving = vllm_scheduler.scheduler(512, 4096, monkeypatch)
        serving.add_request(vllm_scheduler.request("a", [729, 36, 36, 729]))
        numbers = vllm_scheduler.visuals_by_step(serving)
        assert max(numbers) == 1
        assert sum(numbers) == 4
