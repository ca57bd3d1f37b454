"""A replica behind Envoy ends while 20 clients ask: what they see."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llava_interleave_serve.benchmarks.fleet import envoy
from llava_interleave_serve.benchmarks.fleet.crowd import Crowd, Outcome
from llava_interleave_serve.benchmarks.fleet.envoy import RunningEnvoy
from tests.support import app_server
from tests.support.app_client import HELLO
from tests.support.demo_server import RunningServer

CLIENTS, ANSWERS = 20, 3
PATIENCE = 120  # seconds for a server to end


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[tuple[RunningEnvoy, list[RunningServer]]]:
    """Envoy before two servers, each in a process of its own."""
    options = ("--drain-delay", "8", "--drain-timeout", "20", "--events", "3")
    with contextlib.ExitStack() as stack:
        servers = []
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            servers.append(stack.enter_context(app_server.in_process(tmp_path / name, *options)))
        ports = [int(server.url.rpartition(":")[2]) for server in servers]
        yield stack.enter_context(envoy.before(ports, tmp_path)), servers


async def outcomes(front: RunningEnvoy, server: RunningServer, end: signal.Signals) -> tuple[float, list[Outcome]]:
    """When the server had ended, and what the requests before, meanwhile and after came to."""
    async with front.async_client() as client:
        crowd = Crowd(client, [HELLO] * CLIENTS)
        await crowd.further(ANSWERS * CLIENTS)
        server.process.send_signal(end)
        await asyncio.to_thread(server.process.wait, PATIENCE)
        ended = time.monotonic()
        await crowd.further(ANSWERS * CLIENTS)
        return ended, await crowd.end()


def test_a_replica_that_is_told_to_end_costs_no_request(fleet: tuple[RunningEnvoy, list[RunningServer]]) -> None:
    front, (server, _) = fleet
    ended, seen = asyncio.run(outcomes(front, server, signal.SIGTERM))
    assert [outcome.fault for outcome in seen if outcome.fault] == []
    assert any(outcome.began > ended for outcome in seen)
    assert server.process.returncode == 0


def test_a_replica_that_is_lost_costs_only_what_was_in_flight(
    fleet: tuple[RunningEnvoy, list[RunningServer]],
) -> None:
    front, (server, _) = fleet
    ended, seen = asyncio.run(outcomes(front, server, signal.SIGKILL))
    lost = [outcome for outcome in seen if outcome.fault]
    assert [outcome.fault for outcome in lost if outcome.began > ended] == []
    assert len(lost) <= CLIENTS
