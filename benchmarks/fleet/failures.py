"""Measures what clients see of two servers behind Envoy that are full, end or are lost.

`python -m llava_interleave_serve.benchmarks.fleet.failures [NAME ...]`

Starts two servers of the bundled demo, each with one thread, and Envoy as deploy/envoy.yaml has it. Prints one JSON
line for each of:

* spill: 12 requests of one session at once, where each server takes 3.
* disconnects: clients leave streams, and answers that they wait for; seconds until no server has them any more.
* bodies: a question whose data URL makes it up to 66 MiB large.
* rolling: 20 clients ask while one server after the other is told to end, and is started again.
* lost: 20 clients ask while a server is killed.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_interleave_serve.benchmarks.fleet import behaviour, envoy, replica
from llava_interleave_serve.benchmarks.fleet.envoy import RunningEnvoy
from llava_interleave_serve.benchmarks.server.processes import Server

DRAIN = ("--drain-delay", "5", "--drain-timeout", "30")
PATIENCE = 120  # seconds for a server to end


@dataclass
class Fleet:
    """Envoy before two servers.

    Attributes:
        front: Envoy.
        servers: those behind it, by number.

    """

    front: RunningEnvoy
    servers: list[Server]
    _stack: contextlib.ExitStack
    _options: tuple[str, ...]

    async def end(self, number: int, how: signal.Signals) -> None:
        """Returns once a server has ended of a signal."""
        process = self.servers[number].process
        process.send_signal(how)
        await asyncio.to_thread(process.wait, PATIENCE)

    async def restart(self, number: int) -> None:
        """Starts a server that has ended again, at its port. Returns once Envoy sends it requests."""
        again = replica.running(self._options, replica.port_of(self.servers[number]))
        started = await asyncio.to_thread(self._stack.enter_context, again)
        self.servers[number] = started
        await asyncio.to_thread(self.front.wait_for, "cluster.replicas.membership_healthy", len(self.servers))


@contextlib.contextmanager
def fleet(*options: str) -> Iterator[Fleet]:
    """Runs Envoy before two servers with these options."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = [stack.enter_context(replica.running(options)) for _ in range(2)]
        front = stack.enter_context(envoy.before(map(replica.port_of, servers), folder))
        yield Fleet(front, servers, stack, options)


async def spill(running: Fleet) -> dict[str, Any]:
    """What 12 requests at once come to, and how many of them each server has answered."""
    name = "vllm:request_success_total"
    before = [server.metric(name) for server in running.servers]
    answers = await behaviour.at_once(running.front.url)
    after = [server.metric(name) for server in running.servers]
    return answers | {"answered_by": [int(now - then) for then, now in zip(before, after, strict=True)]}


async def rolling(running: Fleet) -> dict[str, Any]:
    """What the crowd sees while both servers are replaced."""

    async def replace() -> None:
        for number in range(len(running.servers)):
            await running.end(number, signal.SIGTERM)
            await running.restart(number)

    return await behaviour.crowd_during(running.front.url, replace)


async def lost(running: Fleet) -> dict[str, Any]:
    """What the crowd sees while a server is killed."""
    return await behaviour.crowd_during(running.front.url, lambda: running.end(0, signal.SIGKILL))


ROOMY: dict[str, Callable[[Fleet], Coroutine[Any, Any, dict[str, Any]]]] = {
    "disconnects": lambda running: behaviour.disconnects(running.front.url),
    "bodies": lambda running: behaviour.bodies(running.front.url),
    "rolling": rolling,
    "lost": lost,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of what is measured (all)")
    names = parser.parse_args().names or ["spill", *ROOMY]
    if unknown := set(names) - {"spill", *ROOMY}:
        parser.error(f"there is no {unknown.pop()}: there are spill, {', '.join(ROOMY)}")
    if "spill" in names:
        with fleet("--max-requests", str(behaviour.PLACES)) as running:
            print(json.dumps({"spill": asyncio.run(spill(running))}), flush=True)
    if set(names) & set(ROOMY):
        with fleet(*DRAIN) as running:
            for name, measured in ROOMY.items():
                if name in names:
                    print(json.dumps({name: asyncio.run(measured(running))}), flush=True)


if __name__ == "__main__":
    main()
