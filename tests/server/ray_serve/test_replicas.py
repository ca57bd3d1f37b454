"""Replicas on a Ray cluster of this machine: sessions, errors, a lost replica, a rolling update."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from llava_interleave_serve.benchmarks.server.processes import free_port
from llava_interleave_serve.server.ray_serve import autoscaling
from tests.support import scene_parts
from tests.support.app_client import CHAT, HELLO, body
from tests.support.fleet import ray_replicas

ray = pytest.importorskip("ray", reason="needs the extra `ray`: make ray-check")
CLIENTS = 6
PATIENCE = 120  # seconds for the cluster to do as it should


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"replica": "2"}, "no option replica"),
        ({"args": "--port 9"}, "args has --port"),
        ({"args": "--drain-delay=9"}, "args has --drain-delay=9"),
        ({"replicas": 3, "max_replicas": 2}, "max_replicas is 2, less than replicas, which is 3"),
        ({"visual_tokens_per_replica": 9}, "visual_tokens_per_replica is for autoscaling: give max_replicas too"),
        ({"scale_down_seconds": 9}, "scale_down_seconds is for autoscaling: give max_replicas too"),
        ({"gpus": "many"}, "many"),
    ],
)
def test_a_wrong_option_is_refused_with_a_sentence(options: dict[str, Any], says: str) -> None:
    from llava_interleave_serve.server.ray_serve import replicas

    with pytest.raises(ValueError, match=says):
        replicas.app(options)


def test_ray_hashes_sessions_but_where_haproxy_chooses_the_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    from llava_interleave_serve.server.ray_serve import replicas

    def router() -> str:
        deployment = replicas.app({})._bound_deployment
        return str(deployment._deployment_config.request_router_config.request_router_class)

    assert router() == replicas.HASH_ROUTER
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    assert router() != replicas.HASH_ROUTER  # with one, `serve run` fails


@pytest.mark.anyio
async def test_a_replica_tells_ray_of_its_health_and_its_load() -> None:
    from llava_interleave_serve.server.ray_serve import replicas

    engine = ray_replicas.ProcessEngine()
    engine.goes_on = asyncio.Event()
    replica = object.__new__(replicas.Replica)
    await replica.__init__(["--max-requests", "1"], lambda config: engine)  # type: ignore[misc]
    app = replica.__serve_build_asgi_app__()
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://r") as client:
        replica.check_health()
        before = replica.record_autoscaling_stats()
        running = asyncio.create_task(client.post(CHAT, json=body(scene_parts.image_part(1))))
        await engine.was_asked.wait()
        assert (await client.post(CHAT, json=HELLO)).status_code == 429
        during = replica.record_autoscaling_stats()
        engine.goes_on.set()
        assert (await running).json()["choices"][0]["message"]["content"] == str(os.getpid())
        engine.alive = False
        with pytest.raises(RuntimeError, match="died"):
            replica.check_health()
    assert engine.closed
    assert before[autoscaling.VISUAL_TOKENS] == 0
    assert during[autoscaling.VISUAL_TOKENS] == 49
    assert during[autoscaling.REFUSALS] == before[autoscaling.REFUSALS] + 1


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two replicas; requests of a medium have a key."""
    from ray import serve

    environment = {
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "llava_interleave_serve.server.ray_serve.affinity:middlewares",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_SESSION_ID_HEADER_KEY": "x-session-id",
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ |= environment
    port = free_port()
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        deploy()
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def deploy(**options: Any) -> None:
    from ray import serve

    from llava_interleave_serve.server.ray_serve import replicas

    serve.run(replicas.application({"replicas": 2} | options, ray_replicas.make_engine), name="test")


def replica_of(client: httpx.Client, content: dict[str, Any], **headers: str) -> int:
    """Sends a request; the number of the process that has answered it."""
    response = client.post(CHAT, json=content, headers=headers)
    assert response.status_code == 200, response.text
    return int(response.json()["choices"][0]["message"]["content"])


@contextlib.contextmanager
def asking(url: str) -> Iterator[list[str]]:
    """Clients that ask one request after the other; gives what was wrong with their answers, "" for nothing."""
    seen: list[str] = []
    enough = threading.Event()

    def ask(number: int) -> None:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            while not enough.is_set():
                try:
                    response = client.post(CHAT, json=HELLO, headers={"X-Session-ID": f"{number}"})
                    seen.append("" if response.status_code == 200 else f"{response.status_code} {response.text[:200]}")
                except httpx.TransportError as error:
                    seen.append(repr(error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def wait_for_answers(seen: list[str], more: int) -> None:
    """Returns after so many further requests were answered well."""
    target, end = seen.count("") + more, time.monotonic() + PATIENCE
    while seen.count("") < target:
        assert time.monotonic() < end, seen[-5:]
        time.sleep(0.02)


def client_of(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=60, trust_env=False)


def test_requests_of_a_session_or_about_a_medium_meet_one_replica(url: str) -> None:
    with client_of(url) as client:
        sessions = {
            name: {replica_of(client, HELLO, **{"X-Session-ID": name}) for _ in range(4)}
            for name in map(str, range(24))
        }
        media = {
            number: {
                replica_of(client, body(scene_parts.image_part(number), scene_parts.text_part(text))) for text in "ab"
            }
            for number in range(24)
        }
    for met in (sessions, media):
        assert all(len(each) == 1 for each in met.values()), met
        assert len(set.union(*met.values())) == 2


def test_errors_and_routes_are_the_servers_own(url: str) -> None:
    with client_of(url) as client:
        refused = client.post(CHAT, json={"messages": [], "unheard_of": 1})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "unheard_of"
        assert client.get("/ready").status_code == 200
        assert "lis_inflight" in client.get("/metrics").text


def test_the_events_of_a_stream_come_to_its_end(url: str) -> None:
    with client_of(url) as client:
        text = client.post(CHAT, json=HELLO | {"stream": True}).text
    assert text.endswith("data: [DONE]\n\n")


def test_a_rolling_update_costs_no_request(url: str) -> None:
    with client_of(url) as client:
        before = {replica_of(client, HELLO, **{"X-Session-ID": f"{number}"}) for number in range(24)}
    with asking(url) as seen:
        wait_for_answers(seen, 3 * CLIENTS)
        deploy(args="--max-requests 100")
        wait_for_answers(seen, 3 * CLIENTS)
    assert [fault for fault in seen if fault] == []
    with client_of(url) as client:
        after = {replica_of(client, HELLO, **{"X-Session-ID": f"{number}"}) for number in range(24)}
    assert before.isdisjoint(after)


def test_a_lost_replica_costs_only_what_was_in_flight_and_is_replaced(url: str) -> None:
    with client_of(url) as client:
        both = {replica_of(client, HELLO, **{"X-Session-ID": f"{number}"}) for number in range(24)}
        lost = both.pop()
        with asking(url) as seen:
            wait_for_answers(seen, CLIENTS)
            os.kill(lost, signal.SIGKILL)
            wait_for_answers(seen, 10 * CLIENTS)
        assert len([fault for fault in seen if fault]) <= 2 * CLIENTS, seen
        wait_for_replicas(client, lost)


def test_a_replica_whose_engine_has_died_is_replaced(url: str) -> None:
    with client_of(url) as client:
        dead = replica_of(client, HELLO | {"max_tokens": ray_replicas.ProcessEngine.DYING_TOKENS})
        wait_for_replicas(client, dead)


def wait_for_replicas(client: httpx.Client, gone: int) -> None:
    """Returns once two replicas answer, neither of them the process that is gone."""
    end = time.monotonic() + PATIENCE
    while True:
        met = set()
        for number in range(24):
            response = client.post(CHAT, json=HELLO, headers={"X-Session-ID": f"{number}"})
            if response.status_code == 200:
                met.add(response.json()["choices"][0]["message"]["content"])
        if len(met) == 2 and str(gone) not in met:
            return
        assert time.monotonic() < end, met
        time.sleep(0.5)


def test_replicas_come_for_visual_tokens_and_for_refusals_and_go_with_them(url: str) -> None:
    fields = {"max_tokens": ray_replicas.ProcessEngine.HELD_TOKENS}
    # Longer than a replica takes to start, and than Ray takes to see a further refusal.
    scaling = {"visual_tokens_per_replica": 60, "scale_down_seconds": 15}
    deploy(replicas=1, max_replicas=2, args="--max-requests 2", **scaling)
    wait_for_running(1)
    with holding(url, *(body(scene_parts.image_part(number), **fields) for number in range(2))):  # 49 tokens each
        wait_for_running(2)
    wait_for_running(1)
    with holding(url, HELLO | fields, HELLO | fields), client_of(url) as client:
        wait_for_running(2, lambda: client.post(CHAT, json=HELLO))
    wait_for_running(1)


@contextlib.contextmanager
def holding(url: str, *contents: dict[str, Any]) -> Iterator[None]:
    """Sends requests, and leaves when the block ends."""
    address = httpx.URL(url)
    with contextlib.ExitStack() as stack:
        for content in contents:
            message = httpx.Request("POST", address.join(CHAT), json=content)
            head = "".join(f"{name}: {value}\r\n" for name, value in message.headers.items())
            connection = stack.enter_context(socket.create_connection((address.host, address.port)))
            connection.sendall(f"POST {CHAT} HTTP/1.1\r\n{head}\r\n".encode() + message.content)
        yield


def wait_for_running(count: int, meanwhile: Callable[[], Any] = lambda: None) -> None:
    """Returns once so many replicas run, and no other starts or ends."""
    from ray import serve

    end = time.monotonic() + PATIENCE
    while (states := serve.status().applications["test"].deployments["Replica"].replica_states) != {"RUNNING": count}:
        assert time.monotonic() < end, states
        meanwhile()
        time.sleep(0.2)
