"""A real server in a process of its own, as its user would start it."""

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
import openai

START_TIMEOUT = 300.0


@dataclass
class RunningServer:
    process: subprocess.Popen
    url: str
    log: Path

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)

    @property
    def async_client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=300)

    @property
    def model(self) -> str:
        return self.client.models.list().data[0].id

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)

    def engine_processes(self) -> list[int]:
        """The process ids below the server's own."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def start(folder: Path, *options: str) -> Iterator[RunningServer]:
    """Starts `llava-interleave serve OPTIONS`, waits until it is ready, and stops it in the end."""
    port, log = free_port(), folder / "server.log"
    command = [str(Path(sys.executable).with_name("llava-interleave")), "serve", "--port", str(port), *options]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1"} | os.environ
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=folder)
    server = RunningServer(process, f"http://127.0.0.1:{port}", log)
    with stopped(process):
        wait_ready(server)
        yield server


@contextlib.contextmanager
def stopped(process: subprocess.Popen) -> Iterator[None]:
    """Ends the process in the end, if it has not ended by itself."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_ready(server: RunningServer, route: str = "/ready") -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.url}{route}").status_code == httpx.codes.OK:
                return
        time.sleep(0.5)
    raise AssertionError(f"the server is not ready:\n{server.log.read_text()[-4000:]}")
