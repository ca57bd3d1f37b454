"""A replica behind Envoy ends while 20 clients ask: what they see."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from llava_interleave_serve.benchmarks.server import envoy
from llava_interleave_serve.benchmarks.server.envoy import RunningEnvoy
from tests.support import app_server
from tests.support.app_client import CHAT, HELLO
from tests.support.demo_server import RunningServer

CLIENTS, ANSWERS = 20, 3
PATIENCE = 120  # seconds for a server to end


@dataclass
class Outcome:
    """One request: when it began, and what was wrong with its answer, empty for nothing."""

    began: float
    fault: str


class Crowd:
    """Clients that each ask one request after the other, every second one for a stream.

    Attributes:
        outcomes: of the requests that have ended.
        enough: ends the clients.

    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.outcomes: list[Outcome] = []
        self.enough = False
        self._client = client
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(CLIENTS)]

    async def further(self, answers: int) -> None:
        """Returns after so many requests that begin from now on have been answered."""
        start = time.monotonic()
        while sum(outcome.began > start for outcome in self.outcomes) < answers:  # noqa: ASYNC110 - tasks append
            await asyncio.sleep(0.01)

    async def end(self) -> list[Outcome]:
        """What all requests came to."""
        self.enough = True
        await asyncio.gather(*self._tasks)
        return self.outcomes

    async def _ask(self, number: int) -> None:
        while not self.enough:
            began, fault = time.monotonic(), ""
            try:
                content = HELLO | {"stream": number % 2 == 0}
                response = await self._client.post(CHAT, json=content, headers={"X-Session-ID": f"{number}"})
                if response.status_code != 200:
                    fault = response.text
                elif content["stream"] and not response.text.endswith("data: [DONE]\n\n"):
                    fault = "the stream was cut"
            except httpx.TransportError as error:
                fault = repr(error)
            self.outcomes.append(Outcome(began, fault))


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
        crowd = Crowd(client)
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
