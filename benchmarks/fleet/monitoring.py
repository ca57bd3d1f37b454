"""Has a real Prometheus read two servers under load, and evaluates what the dashboard and the alert rules ask of it.

`python -m llava_interleave_serve.benchmarks.fleet.monitoring [--prometheus PROGRAM] [--seconds N] [--json FILE]`

Starts two servers of the bundled demo behind Envoy, Prometheus (2.42 is Debian's package `prometheus`) with
deploy/alerts.yaml, and the load test. Prints one JSON line: the series that each panel of deploy/dashboard.json has,
the panels and rules that Prometheus cannot evaluate, and the alerts that are pending or fire. The file gets the panels
with the values of their series, of which a page can be drawn.
"""

import argparse
import asyncio
import contextlib
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from llava_interleave_serve.benchmarks.fleet import envoy, replica
from llava_interleave_serve.benchmarks.load import benchmark
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.progress import Progress
from llava_interleave_serve.benchmarks.server import processes

DEPLOY = envoy.CONFIGURATION.parent
INTERVAL, STEP = 2, 2  # seconds between two scrapes, and between two values of a series
# What Grafana puts in place of its variables: four scrapes, and every replica.
VARIABLES = {"$__rate_interval": f"{4 * INTERVAL}s", "$instance": ".*"}
SECONDS = 60.0  # in which Prometheus must have started


@contextlib.contextmanager
def prometheus(program: str, ports: Sequence[int], folder: Path) -> Iterator[httpx.Client]:
    """Runs Prometheus until the block ends. Gives a client of its API once it has read every port's metrics."""
    scrape = {"job_name": "servers", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
    timing = {"scrape_interval": f"{INTERVAL}s", "evaluation_interval": f"{INTERVAL}s"}
    file = folder / "prometheus.yml"
    rules = {"rule_files": [str(DEPLOY / "alerts.yaml")]}
    file.write_text(yaml.safe_dump({"global": timing, "scrape_configs": [scrape], **rules}))
    address = f"127.0.0.1:{processes.free_port()}"
    command = [program, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://{address}/api/v1", trust_env=False, timeout=60) as client:
            _wait_until_read(client, len(ports))
            yield client
    finally:
        process.terminate()
        process.wait(SECONDS)


def _wait_until_read(client: httpx.Client, targets: int) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError, KeyError, ValueError):
            found = client.get("/query", params={"query": "sum(up)"}).json()["data"]["result"]
            if found and float(found[0]["value"][1]) == targets:
                return
        time.sleep(0.2)
    raise RuntimeError("Prometheus does not read the servers' metrics")


def drawn(client: httpx.Client, start: float, end: float) -> tuple[list[dict[str, Any]], list[str]]:
    """The panels with the values of their series, and what Prometheus says of queries that it cannot evaluate."""
    panels: list[dict[str, Any]] = json.loads((DEPLOY / "dashboard.json").read_text())["panels"]
    wrong = []
    for panel in panels:
        panel["series"] = []
        for target in panel.get("targets", []):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            when = {"query": expression, "start": start, "end": end, "step": STEP}
            answer = client.get("/query_range", params=when).json()
            if answer["status"] != "success":
                wrong.append(f"{panel['title']}: {answer['error']}")
                continue
            for series in answer["data"]["result"]:
                legend = _legend(target["legendFormat"], series["metric"])
                panel["series"].append({"refId": target["refId"], "legend": legend, "values": series["values"]})
    return panels, wrong


def _legend(form: str, labels: dict[str, str]) -> str:
    """Grafana's name of a series: `{{label}}` stands for its value."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), form)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prometheus", default="prometheus", help="program (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of load (%(default)s)")
    parser.add_argument("--rate", type=float, default=3.0, help="requests a second (%(default)s)")
    parser.add_argument("--json", type=Path, help="gets the panels with their series")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = [replica.port_of(stack.enter_context(replica.running())) for _ in range(2)]
        front = stack.enter_context(envoy.before(ports, folder))
        client = stack.enter_context(prometheus(arguments.prometheus, ports, folder))
        start = time.time()
        options = Options(url=front.url, workload="demo", rate=arguments.rate, duration=arguments.seconds)
        report = asyncio.run(benchmark.measure(options, Progress(quiet=True)))
        time.sleep(2 * INTERVAL)
        end = time.time()
        panels, wrong = drawn(client, start, end)
        groups = client.get("/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    wrong += [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule["health"] != "ok"]
    shown = [panel for panel in panels if panel["type"] != "row"]
    if arguments.json:
        arguments.json.write_text(json.dumps({"start": start, "end": end, "panels": panels}))
    result = {
        "requests": len(report.requests),
        "series": {panel["title"]: len(panel["series"]) for panel in shown},
        "rules": len(rules),
        "cannot_be_evaluated": wrong,
        "alerts": {rule["name"]: rule["state"] for rule in rules if rule["state"] != "inactive"},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
