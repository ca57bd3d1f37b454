"""The chart's Envoy pods end when their last request has been answered."""

import asyncio
import os
import subprocess
import threading
from pathlib import Path

import httpx

from llava_interleave_serve.benchmarks.fleet import envoy
from tests.support import app_server
from tests.support.app_client import CHAT, HELLO
from tests.support.fakes.engine import FakeEngine
from tests.support.fleet import chart

PATIENCE = 60  # seconds for the script to end


def drain(admin: str, seconds: int, settle: int = 0) -> "subprocess.Popen[bytes]":
    """Starts the pod's preStop."""
    environment = os.environ | {"ADMIN_PORT": admin.rpartition(":")[2], "SETTLE_SECONDS": str(settle)}
    return subprocess.Popen(["bash", chart.FOLDER / "files" / "drain.sh", str(seconds)], env=environment)


def test_an_envoy_that_is_to_end_waits_for_its_requests_and_closes_their_connections(tmp_path: Path) -> None:
    engine, answers = FakeEngine(), list[httpx.Response]()
    with (
        app_server.in_thread(engine) as server,
        envoy.before([server.port], tmp_path) as front,
        front.client() as client,
        front.client() as other,
    ):
        assert "connection" not in client.get("/health").headers
        engine.goes_on = asyncio.Event()
        thread = threading.Thread(target=lambda: answers.append(client.post(CHAT, json=HELLO)))
        thread.start()
        front.wait_for("http.front.downstream_rq_active", 1)
        script = drain(front.admin, seconds=PATIENCE)
        front.wait_for("listener_manager.total_listeners_draining", 0)  # connections are, listeners are not
        while other.get("/health").headers.get("connection") != "close":  # requests are served still
            assert script.poll() is None
        assert script.poll() is None
        server.loop.call_soon_threadsafe(engine.goes_on.set)
        thread.join()
        assert answers[0].status_code == 200
        assert script.wait(PATIENCE) == 0


def test_an_envoy_waits_no_longer_than_it_is_told(tmp_path: Path) -> None:
    engine = FakeEngine()
    with app_server.in_thread(engine) as server, envoy.before([server.port], tmp_path) as front:
        engine.goes_on = asyncio.Event()
        with front.client() as client:
            thread = threading.Thread(target=lambda: client.post(CHAT, json=HELLO))
            thread.start()
            front.wait_for("http.front.downstream_rq_active", 1)
            assert drain(front.admin, seconds=1).wait(PATIENCE) == 0
            assert front.statistic("http.front.downstream_rq_active") == 1
            server.loop.call_soon_threadsafe(engine.goes_on.set)
            thread.join()
