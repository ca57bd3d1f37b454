"""Envoy before two servers: which replica a request meets, and what passes unchanged."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llava_interleave_serve.benchmarks.fleet import envoy
from llava_interleave_serve.benchmarks.fleet.envoy import RunningEnvoy
from llava_interleave_serve.server.errors import Unavailable
from llava_interleave_serve.server.limits import Limits
from tests.support import app_server, asgi_thread, scene_parts
from tests.support.app_client import CHAT, HELLO, body
from tests.support.app_server import ServedApp

MEBIBYTE = 1 << 20


@contextlib.contextmanager
def fleet(folder: Path, **config: Any) -> Iterator[tuple[RunningEnvoy, list[ServedApp]]]:
    """Envoy before two servers."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(app_server.in_thread(**config)) for _ in range(2)]
        yield stack.enter_context(envoy.before([server.port for server in servers], folder)), servers


def asked(servers: list[ServedApp]) -> list[int]:
    """How many requests each engine has got."""
    return [len(server.engine.asked) for server in servers]


def picture(number: int, *texts: str) -> dict[str, Any]:
    return body(scene_parts.image_part(number), *map(scene_parts.text_part, texts))


def replica_of(client: httpx.Client, servers: list[ServedApp], content: dict[str, Any], **headers: str) -> int:
    """Sends a request; the number of the replica that has answered it."""
    before = asked(servers)
    response = client.post(CHAT, json=content, headers=headers)
    assert response.status_code == 200, response.text
    (replica,) = [number for number, count in enumerate(asked(servers)) if count != before[number]]
    return replica


def eventually(condition: Callable[[], bool]) -> None:
    """Returns once the condition is true."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come true in a minute")


def test_requests_of_one_session_or_about_one_medium_meet_one_replica(tmp_path: Path) -> None:
    sessions = {f"session-{number}" for number in range(24)}
    with fleet(tmp_path) as (front, servers), front.client() as client:
        by_session = {
            session: {replica_of(client, servers, picture(number), **{"X-Session-ID": session}) for number in range(3)}
            for session in sessions
        }
        by_medium = {
            number: {
                replica_of(client, servers, content)
                for content in (
                    picture(number, "What is this?"),
                    picture(number, "And what colour?", "x" * 1000),
                    body(scene_parts.text_part("Look:"), scene_parts.image_part(number), scene_parts.image_part(99)),
                )
            }
            for number in range(24)
        }
        text = {replica_of(client, servers, HELLO) for _ in range(40)}
    for replicas in (by_session, by_medium):
        assert all(len(met) == 1 for met in replicas.values()), replicas
        assert set.union(*replicas.values()) == {0, 1}  # 24 keys all on one of two: 1 in 8 million rings
    assert text == {0, 1}  # without a key any replica does


def test_the_key_is_of_the_first_medium_and_the_clients_own_is_left(tmp_path: Path) -> None:
    keys: list[str | None] = []

    async def note(request: Request) -> Response:
        keys.append(request.headers.get("x-session-id"))
        return Response()

    def key_of(content: bytes, **headers: str) -> str | None:
        client.post("/", content=content, headers=headers)
        return keys.pop()

    app = Starlette(routes=[Route("/ready", lambda _: Response()), Route("/", note, methods=["POST"])])
    long = b'{"url" : "data:image/png;base64,' + b"A" * 100_000
    with (
        asgi_thread.serving(app) as url,
        envoy.before([int(url.rpartition(":")[2])], tmp_path) as front,
        front.client() as client,
    ):
        assert key_of(b'{"url": "a"}', **{"X-Session-ID": "mine"}) == "mine"
        for without in (b"", b"{}", b'{"url": 5}', b" " * 70_000 + b'{"url": "a"}'):
            assert key_of(without) is None
        first = key_of(b'{"url": "a"}')
        assert first is not None
        assert first.startswith("medium-")
        assert key_of(b'{"text": "Look:", "url":"a", "more": [{"url": "b"}]}') == first
        different = [key_of(each) for each in (b'{"url": "b"}', b'{"url": ""}', long + b'"}', long + b'A"}')]
        assert len({first, *different}) == 5
        assert key_of(long[:60_000] + b"B" + long[60_001:] + b'"}') == different[2]  # samples, not all of it
        assert key_of(long + b'", "text": "and then?", "more": {"url": "b"}}') == different[2]  # of 100 kB


def test_what_finds_a_replica_full_is_answered_by_the_next_and_only_a_full_fleet_refuses(tmp_path: Path) -> None:
    limits = Limits(max_requests=3)

    async def ask(front: RunningEnvoy, servers: list[ServedApp]) -> list[httpx.Response]:
        async with front.async_client(headers={"X-Session-ID": "one"}) as client:
            tasks = [asyncio.create_task(client.post(CHAT, json=HELLO)) for _ in range(12)]
            refused, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            while len(refused) < 6:
                refused, _ = await asyncio.wait(tasks, timeout=0.1)
            for server in servers:
                server.loop.call_soon_threadsafe(gates[server.port].set)
            return [await task for task in tasks]

    with fleet(tmp_path, limits=limits) as (front, servers):
        gates = {}
        for server in servers:
            gates[server.port] = server.engine.goes_on = asyncio.Event()
        responses = asyncio.run(ask(front, servers))
        taken = asked(servers)
    statuses = sorted(response.status_code for response in responses)
    assert statuses == [200] * 6 + [429] * 6
    assert taken == [3, 3]
    for response in responses:
        if response.status_code == 429:
            assert response.json()["error"]["code"] == "overloaded"
            assert response.headers["Retry-After"]


def test_a_request_that_an_engine_has_died_of_is_not_taken_to_the_next(tmp_path: Path) -> None:
    with fleet(tmp_path) as (front, servers), front.client() as client:
        for server in servers:
            server.engine.fails = Unavailable("the engine has died; this server is going down")
        response = client.post(CHAT, json=HELLO)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
        assert sum(asked(servers)) == 1


def test_a_request_that_comes_to_a_dead_engine_is_taken_to_the_next(tmp_path: Path) -> None:
    with fleet(tmp_path) as (front, servers), front.client() as client:
        home = replica_of(client, servers, HELLO, **{"X-Session-ID": "one"})
        servers[home].engine.alive = False
        # At once: no health check can have found it yet, or one has, and it makes no difference.
        assert replica_of(client, servers, HELLO, **{"X-Session-ID": "one"}) == 1 - home
        front.wait_for("cluster.replicas.membership_healthy", 1)
        for number in range(8):
            assert replica_of(client, servers, picture(number)) == 1 - home
        servers[home].engine.alive = True
        eventually(lambda: replica_of(client, servers, HELLO, **{"X-Session-ID": "one"}) == home)


def test_bodies_up_to_the_servers_limit_pass_and_larger_ones_are_a_413(tmp_path: Path) -> None:
    limits = Limits(max_body_bytes=64 * MEBIBYTE, max_text_bytes=64 * MEBIBYTE)
    prefix = json.dumps(HELLO).encode()
    with fleet(tmp_path, limits=limits) as (front, servers), front.client() as client:
        for mebibytes, status in ((1, 200), (20, 200), (64, 200), (66, 413)):
            content = prefix.ljust(mebibytes * MEBIBYTE)
            headers = {"Content-Type": "application/json"}
            response = client.post(CHAT, content=content, headers=headers)
            assert response.status_code == status, (mebibytes, response.text)
        assert response.json()["error"]["code"] == "body_too_large"
        assert sum(asked(servers)) == 3


def test_the_events_of_a_stream_come_one_by_one(tmp_path: Path) -> None:
    with fleet(tmp_path) as (front, servers), front.client() as client:
        for server in servers:
            server.engine.seconds_between = 0.2
            server.engine.events = server.engine.events[:1] * 4
        with client.stream("POST", CHAT, json=HELLO | {"stream": True}) as response:
            lines = response.iter_lines()
            first = next(lines)
            open_streams = sum(server.engine.streams_open for server in servers)
            rest = [line for line in lines if line]
    assert first.startswith("data: ")
    assert open_streams == 1  # the first event came before the last was made
    assert len(rest) == 4
    assert rest[-1] == "data: [DONE]"


@pytest.mark.parametrize("streams", [True, False])
def test_what_a_client_that_leaves_held_is_free_again(streams: bool, tmp_path: Path) -> None:
    with fleet(tmp_path) as (front, servers), front.client() as client:
        for server in servers:
            server.engine.seconds_between = 0.05
            server.engine.events = server.engine.events[:1] * 100_000
            if not streams:
                server.engine.goes_on = asyncio.Event()
        request = client.build_request("POST", CHAT, json=HELLO | {"stream": streams})
        if streams:
            response = client.send(request, stream=True)
            lines = response.iter_lines()  # kept, since the response is closed with it
            next(lines)
            assert _inside(servers) == 1
            response.close()
        else:
            thread = threading.Thread(target=_sent_and_left, args=(front, servers))
            thread.start()
            thread.join()
        eventually(lambda: _inside(servers) == 0)


def _sent_and_left(front: RunningEnvoy, servers: list[ServedApp]) -> None:
    async def send() -> None:
        async with front.async_client() as client:
            task = asyncio.create_task(client.post(CHAT, json=HELLO))
            while not sum(asked(servers)):  # noqa: ASYNC110 - in other threads
                await asyncio.sleep(0.01)
            assert _inside(servers) == 1
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(send())


def _inside(servers: list[ServedApp]) -> int:
    return sum(int(server.state.admission.load.requests) for server in servers)
