"""Measures what affinity is worth: the same load through Envoy before two servers, by session and at random.

`python -m llava_interleave_serve.benchmarks.server.affinity [--preset NAME] [--requests N] [--pairs N]`

Starts two servers of the bundled demo, each with one thread, and Envoy as deploy/envoy.yaml has it. Runs of the load
test alternate: in one the requests that show the same media have one X-Session-ID, in the other each request its own,
by which Envoy spreads them. Every run shows media of its own. Prints one JSON line: for requests whose media an earlier
one has shown, the median time to first token and the share of those for which the tower encoded nothing, in both kinds
of run, and their ratio. Of the first run's answers some are compared with those of the same requests alone.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
from pathlib import Path

from llava_interleave_serve.benchmarks.load import benchmark
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.progress import Progress
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics
from llava_interleave_serve.benchmarks.server import envoy, processes

VERIFIED = 8


def measure(url: str, preset: str, requests: int, kind: str, seed: int, verify: int) -> list[RequestMetrics]:
    """One run of the load test, with two conversations at a time."""
    options = Options(
        url=url,
        workload=preset,
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="multi-turn")
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=2)
    arguments = parser.parse_args()
    requests: dict[str, list[RequestMetrics]] = {"shared": [], "own": []}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = [
            stack.enter_context(
                processes.running_server(
                    processes.own_command(), OMP_NUM_THREADS="1", VLLM_CPU_OMP_THREADS_BIND="nobind"
                )
            )
            for _ in range(2)
        ]
        ports = [int(server.url.rpartition(":")[2]) for server in servers]
        url = stack.enter_context(envoy.before(ports, folder)).url
        for pair in range(arguments.pairs):
            for kind in requests:
                seed = 1000 * pair + len(kind)
                verify = VERIFIED if not pair else 0
                requests[kind] += measure(url, arguments.preset, arguments.requests, kind, seed, verify)
    every = [request for run in requests.values() for request in run]
    compared = [request.same for request in every if request.same is not None]
    result: dict[str, object] = {
        "preset": arguments.preset,
        "requests": len(every),
        "failed": sum(not request.ok for request in every),
        "same_as_alone": f"{sum(compared)} of {len(compared)}",
    }
    medians = {}
    for kind, run in requests.items():
        repeated = [request for request in run if is_repeated(request)]
        medians[kind] = statistics.median(request.ttft or 0.0 for request in repeated)
        encoded_nothing = sum(not request.phases.get("encode") for request in repeated)
        result[kind] = {
            "repeated": len(repeated),
            "ttft_ms": round(medians[kind] * 1e3, 1),
            "encoded_nothing": round(encoded_nothing / len(repeated), 2),
        }
    result["ratio"] = round(medians["shared"] / medians["own"], 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
