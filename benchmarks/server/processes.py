"""Servers that a benchmark or a test starts, waits for, looks at and stops."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

DEADLINE = 600.0  # seconds to become ready
LOG = "server.log"


@dataclass
class Server:
    """A server's process, its address, and how long it took until it served."""

    process: subprocess.Popen[bytes]
    url: str
    seconds_to_ready: float

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)

    def children(self) -> dict[int, str]:
        """The processes below the server's own, and their command lines."""
        found = {}
        for listing in Path(f"/proc/{self.process.pid}/task").glob("*/children"):  # of each thread that started some
            for pid in listing.read_text().split():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                    found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        return found

    def resources(self) -> dict[str, float]:
        """What the server holds: MiB resident, file descriptors, threads, child processes, and shares of the cache."""
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


def ours(*options: str) -> list[str]:
    """The command of this server, without its port."""
    return [str(Path(sys.executable).with_name("llava-interleave")), "serve", *options]


def stock(model: Path, *options: str) -> list[str]:
    """The command of vLLM's own server, without its port."""
    return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), *options]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def running(
    command: list[str], route: str = "/ready", folder: Path | None = None, **environment: str
) -> Iterator[Server]:
    """Starts a server, waits until the route is 200, and stops it in the end.

    folder: where it runs, and writes what it says to `server.log`; without one it runs here, and nothing is kept.
    Raises RuntimeError if it ends or hangs instead.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    started = time.monotonic()
    with (folder / LOG if folder else Path(os.devnull)).open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=output, stderr=output, env=os.environ | environment, cwd=folder
        )
    try:
        if not _ready(process, url + route, started):
            said = f"\n{(folder / LOG).read_text()[-4000:]}" if folder else ""
            raise RuntimeError(f"the server did not become ready: {command!r}{said}")
        yield Server(process, url, time.monotonic() - started)
    finally:
        process.send_signal(signal.SIGTERM)  # to one that has ended, nothing
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(process: subprocess.Popen[bytes], url: str, started: float) -> bool:
    while time.monotonic() - started < DEADLINE and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url).status_code == httpx.codes.OK:
                return True
        time.sleep(0.1)
    return False
