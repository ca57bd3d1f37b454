"""Starts the servers that a benchmark or a test asks, waits until they serve, reads what they use, and stops them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

DEADLINE = 600.0  # seconds to become ready
PATIENCE = 10.0  # seconds for a server's own processes to end after it
LOG = "server.log"


@dataclass
class Server:
    """A server's process."""

    process: subprocess.Popen[bytes]
    """Started by `running_server`, which also stops it."""
    url: str
    """The base URL, without a path."""
    seconds_to_ready: float
    """From the process's start to the first 200 on the route that was waited for."""

    def metric(self, name: str) -> float:
        """The sum of the samples of a metric in `GET /metrics`."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)

    def children(self) -> dict[int, str]:
        """The command lines of the server's child processes, by process id."""
        command_lines = {}
        for listing in Path(f"/proc/{self.process.pid}/task").glob("*/children"):  # each thread lists its own
            for pid in listing.read_text().split():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                    command_line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                    command_lines[int(pid)] = command_line
        return command_lines

    def resources(self) -> dict[str, float]:
        """Returns resident memory in MiB, open file descriptors, threads, child processes, requests in the server, and
        the share of the KV blocks in use, from 0 to 1.
        """
        folder = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        return {
            "rss_mib": round(int(status["VmRSS"].split()[0]) / 1024, 1),
            "fds": len(list((folder / "fd").iterdir())),
            "threads": int(status["Threads"]),
            "children": len(self.children()),
            "requests_inside": self.metric("lis_inflight"),
            "kv_cache_used": self.metric("vllm:kv_cache_usage_perc"),
        }


def own_command(*options: str) -> list[str]:
    """The command line of this repository's server, without its port."""
    return [str(Path(sys.executable).with_name("llava-interleave")), "serve", *options]


def vllm_command(checkpoint: Path, *options: str) -> list[str]:
    """The command line of vLLM's own server, without its port."""
    return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint), *options]


def transformers_command(checkpoint: Path) -> list[str]:
    """The command line of the server around transformers' `generate`, without its port."""
    return [sys.executable, "-m", "llava_interleave_serve.benchmarks.peers.transformers_server", str(checkpoint)]


def free_port() -> int:
    """A TCP port of loopback that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def running_server(
    command: list[str], route: str = "/ready", folder: Path | None = None, **environment: str
) -> contextlib.AbstractContextManager[Server]:
    """Runs a server on any free port, with variables as keywords: see `running_at`."""
    return running_at(free_port(), command, route, folder, environment)


@contextlib.contextmanager
def running_at(
    port: int,
    command: list[str],
    route: str,
    folder: Path | None,
    environment: Mapping[str, str],
    seconds: float = DEADLINE,
) -> Iterator[Server]:
    """Starts `COMMAND --port PORT`, waits until a GET of the route is answered with 200, and stops it in the end.

    The server runs in `folder` and its output goes to `server.log` there; without a folder it runs in the current one
    and its output is dropped. `environment` is added to this process's own. Processes that the server leaves behind are
    killed.

    Raises RuntimeError if the server ends, or is not ready within so many seconds.
    """
    url = f"http://127.0.0.1:{port}"
    start = time.monotonic()
    with (folder / LOG if folder else Path(os.devnull)).open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=output,
            stderr=output,
            env=os.environ | dict(environment),
            cwd=folder,
        )
    try:
        if not _becomes_ready(process, url + route, start + seconds):
            log = f"\n{(folder / LOG).read_text()[-4000:]}" if folder else ""
            raise RuntimeError(f"the server did not become ready: {command!r}{log}")
        yield Server(process, url, time.monotonic() - start)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a server with SIGTERM or, after a minute, SIGKILL, and kills what is left of its descendants."""
    descendants: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):  # it has ended, and its engine with it
        descendants = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)  # does nothing if the process has ended
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, left = psutil.wait_procs(descendants, PATIENCE)
    for each in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


def _becomes_ready(process: subprocess.Popen[bytes], url: str, end: float) -> bool:
    """Waits until the URL is answered with 200. False if the process ends or the time (monotonic) is over before."""
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url).status_code == httpx.codes.OK:
                return True
        time.sleep(0.1)
    return False
