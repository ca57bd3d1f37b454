"""Measures what clients see of servers on a Ray cluster of this machine, and how many run under load.

`python -m llava_interleave_serve.benchmarks.fleet.on_ray [NAME ...]`, with the extra `ray`

Starts a cluster and two servers of the bundled demo on it, each with one thread, as docs/deploy.md has it. Prints one
JSON line for each of:

* disconnects and bodies, as `failures` has them.
* rolling: 20 clients ask while the application is deployed again with another option.
* lost: 20 clients ask while a server is killed, and until another has taken its place.
* scaling: 20 clients ask one server of at most two for more visual tokens than it is to have in flight.
* sessions: how many of 24 sessions meet one server in three requests, and how many servers there are.

`RAY_SERVE_ENABLE_HA_PROXY=1` and what else Ray reads from the environment is taken from there.
"""

import argparse
import asyncio
import contextlib
import json
import os
import pkgutil
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from llava_interleave_serve.benchmarks.fleet import behaviour, replica
from llava_interleave_serve.benchmarks.openai_api.models import SESSION_HEADER
from llava_interleave_serve.benchmarks.server.processes import free_port

APPLICATION = "llava_interleave_serve.server.ray_serve.replicas:app"  # which `serve run` takes
NAME = "demo"  # of the application
PATIENCE = 300.0  # seconds for the cluster to do as it should
ENVIRONMENT = replica.ONE_THREAD | {
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "llava_interleave_serve.server.ray_serve.affinity:middlewares",
    "RAY_USAGE_STATS_ENABLED": "0",
}
SCALING = {"replicas": 1, "max_replicas": 2, "visual_tokens_per_replica": 300, "scale_down_seconds": 10}


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """Runs a cluster with a proxy until the block ends. Gives the proxy's URL."""
    import ray  # noqa: PLC0415 - an extra
    from ray import serve  # noqa: PLC0415

    os.environ |= ENVIRONMENT
    port = free_port()
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


def deploy(**options: Any) -> None:
    """Starts or replaces the servers. Returns once they are ready."""
    from ray import serve  # noqa: PLC0415

    serve.run(pkgutil.resolve_name(APPLICATION)({"replicas": 2} | options), name=NAME)


async def running(count: int) -> None:
    """Returns once so many servers run, and no other starts or ends. Raises TimeoutError."""
    from ray import serve  # noqa: PLC0415

    def wait() -> None:
        end = time.monotonic() + PATIENCE
        while (states := serve.status().applications[NAME].deployments["Replica"].replica_states) != {"RUNNING": count}:
            if time.monotonic() > end:
                raise TimeoutError(f"{states} and not {count} running")
            time.sleep(0.2)

    await asyncio.to_thread(wait)


def server_processes() -> list[int]:
    """The process ids of the servers on the cluster that this process has started."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if (folder / "cmdline").read_bytes().startswith(b"ray::ServeReplica") and _is_ours(int(folder.name)):
                found.append(int(folder.name))
    return found


def _is_ours(pid: int) -> bool:
    """True if a process descends from this one."""
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if pid == os.getpid():
            return True
    return False


async def sessions(url: str) -> dict[str, Any]:
    """Counts the sessions whose requests meet one server, which its start tells from the other."""
    async with behaviour.client_of(url) as client:

        async def server(session: int) -> str:
            text = (await client.get("/metrics", headers={SESSION_HEADER: f"{session}"})).text
            return next(line for line in text.splitlines() if line.startswith("process_start_time_seconds"))

        met = [{await server(session) for _ in range(3)} for session in range(24)]
    return {"sessions_with_one_server": sum(len(each) == 1 for each in met), "servers": len(set.union(*met))}


async def rolling(url: str) -> dict[str, Any]:
    """What the crowd sees while both servers are replaced."""
    return await behaviour.crowd_during(url, lambda: asyncio.to_thread(deploy, args="--max-requests 100"))


async def lost(url: str) -> dict[str, Any]:
    """What the crowd sees while a server is killed and replaced."""

    def kill() -> None:
        before, end = server_processes(), time.monotonic() + PATIENCE
        os.kill(before[0], signal.SIGKILL)
        while before[0] in (found := server_processes()) or len(found) < len(before):
            if time.monotonic() > end:
                raise RuntimeError(f"Ray has not replaced the server after {PATIENCE:.0f} s")
            time.sleep(0.2)

    async def kill_and_wait() -> None:
        await asyncio.to_thread(kill)
        await running(2)

    return await behaviour.crowd_during(url, kill_and_wait)


async def scaling(url: str) -> dict[str, Any]:
    """What the crowd sees while a second server comes; seconds until it runs, and from the load's end until it goes."""
    await asyncio.to_thread(deploy, **SCALING)
    await running(1)
    counted = await behaviour.crowd_during(url, lambda: running(2))
    start = time.monotonic()
    await running(1)
    return counted | {"seconds_until_one": round(time.monotonic() - start, 1)}


MEASURED: dict[str, Callable[[str], Coroutine[Any, Any, dict[str, Any]]]] = {
    "sessions": sessions,
    "disconnects": behaviour.disconnects,
    "bodies": behaviour.bodies,
    "rolling": rolling,
    "lost": lost,
    "scaling": scaling,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of what is measured (all)")
    names = parser.parse_args().names or [*MEASURED]
    if unknown := set(names) - set(MEASURED):
        parser.error(f"there is no {unknown.pop()}: there are {', '.join(MEASURED)}")
    with cluster() as url:
        deploy()
        for name, measured in MEASURED.items():
            if name in names:
                print(json.dumps({name: asyncio.run(measured(url))}), flush=True)


if __name__ == "__main__":
    main()
