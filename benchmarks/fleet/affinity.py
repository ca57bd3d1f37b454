"""Measures what affinity is worth: the same load through Envoy before two servers, by session and at random.

`python -m llava_interleave_serve.benchmarks.fleet.affinity [WORKLOAD] [--model MODEL] [--requests N] [--pairs N]`

Starts two servers, of the bundled demo without a MODEL, each with one thread, and Envoy as deploy/envoy.yaml has it.
Runs of the load test alternate: in one the requests that show the same media have one X-Session-ID, in the other each
request its own, by which Envoy spreads them. Every run shows media of its own. Prints one JSON line: for requests whose
media an earlier one has shown, the median time to first token and the share of those for which the tower encoded
nothing, in both kinds of run, and the ratio of the medians; and by the servers' metrics the visuals that were found in
their caches, and those that were encoded. A run before has its answers compared with those of the same requests alone.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from llava_interleave_serve.benchmarks.fleet import envoy, replica
from llava_interleave_serve.benchmarks.load import benchmark
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.progress import Progress
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics
from llava_interleave_serve.benchmarks.server.processes import Server

VERIFIED = 8
COUNTERS = {"found": "lis_visual_cache_hits_total", "encoded": "lis_visual_cache_misses_total"}


def measure(url: str, workload: str, requests: int, kind: str, seed: int, verify: int) -> list[RequestMetrics]:
    """One run of the load test, with two conversations at a time."""
    options = Options(
        url=url,
        workload=workload,
        arrivals="closed",
        concurrency=2,
        requests=requests,
        seed=seed,
        session_id=kind,
        verify=verify,
    )
    report = asyncio.run(benchmark.measure(options, Progress(quiet=True)))
    return list(report.requests)


def is_repeated(request: RequestMetrics) -> bool:
    """True if an earlier request has shown the media of this one."""
    return (
        request.ok
        and not request.left_out
        and bool(request.images or request.frames)
        and bool(request.repeat or request.turn)
    )


def visuals(servers: list[Server]) -> Counter[str]:
    """Visuals that the servers have found in their caches, and that they have encoded."""
    return Counter({name: sum(int(server.metric(series)) for server in servers) for name, series in COUNTERS.items()})


def summary(run: list[RequestMetrics], counted: Counter[str]) -> dict[str, object]:
    """What one kind of run came to."""
    repeated = [request for request in run if is_repeated(request)]
    times = [request.ttft for request in repeated if request.ttft is not None]
    encoded_nothing = sum(not request.phases.get("encode") for request in repeated)
    return {
        "repeated": len(repeated),
        "ttft_ms": round(statistics.median(times) * 1e3, 1),
        "encoded_nothing": round(encoded_nothing / len(repeated), 2),
        "visuals": {name: counted[name] for name in COUNTERS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("workload", nargs="?", default="multi-turn", help="of the load test (%(default)s)")
    parser.add_argument("--model", nargs="+", default=[], help="and further options of the servers")
    parser.add_argument("--requests", type=int, default=12, help="conversations of a run (%(default)s)")
    parser.add_argument("--pairs", type=int, default=2, help="of runs (%(default)s)")
    arguments = parser.parse_args()
    requests: dict[str, list[RequestMetrics]] = {"shared": [], "own": []}
    counted = {kind: Counter[str]() for kind in requests}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = [stack.enter_context(replica.running(arguments.model)) for _ in range(2)]
        url = stack.enter_context(envoy.before(map(replica.port_of, servers), folder)).url
        checked = measure(url, arguments.workload, VERIFIED, "shared", 7, VERIFIED)
        for pair in range(arguments.pairs):
            for kind in requests if pair % 2 == 0 else reversed(requests):
                before = visuals(servers)
                seed = 1000 * (pair + 1) + len(kind)
                requests[kind] += measure(url, arguments.workload, arguments.requests, kind, seed, 0)
                counted[kind] += visuals(servers) - before
    every = [request for run in requests.values() for request in run]
    compared = [request.same for request in checked if request.same is not None]
    result: dict[str, Any] = {
        "workload": arguments.workload,
        "requests": len(every),
        "failed": sum(not request.ok for request in every),
        "same_as_alone": f"{sum(compared)} of {len(compared)}",
        **{kind: summary(run, counted[kind]) for kind, run in requests.items()},
    }
    result["ratio"] = round(result["shared"]["ttft_ms"] / result["own"]["ttft_ms"], 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
