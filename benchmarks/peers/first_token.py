"""Compares this server, vLLM's own and transformers on a checkpoint of a real size, by the time to the first token.

`python -m llava_interleave_serve.benchmarks.peers.first_token --checkpoint FOLDER --torchvision FOLDER`

`benchmarks.model.random_checkpoint` writes the checkpoint if it is not there; `scripts/install_peer_torchvision.sh`
has written a torchvision to the second folder, which vLLM's LLaVA class and the hub's processor need. All servers run
beside each other and get each request in turn, so that a slow minute of the machine affects all. Each case is a
workload of `llava-interleave bench`, with new media each time; the peers get frames as images, and cannot pool. Prints
a table of medians: seconds to the first token, requests a second, and the share of the machine's bfloat16 matrix
products, measured between the rounds, that the request's FLOP make. One JSON line last.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from llava_interleave_serve.benchmarks.model import flops
from llava_interleave_serve.benchmarks.model.dimensions import Size
from llava_interleave_serve.benchmarks.peers import servers

POOLED = "16 frames pooled"
# The visuals of each case, and what else its class of requests says.
CASES = {
    "1 image": (1, 'kind = "images"'),
    "4 images": (4, 'kind = "images"'),
    "8 images": (8, 'kind = "images"'),
    "16 frames": (16, 'kind = "frames"'),
    POOLED: (16, 'kind = "frames"\npooling = "bilinear"'),
}
WORKLOAD = """name = "{name}"
[media]
sizes = ["640x480"]
[[classes]]
name = "{name}"
visuals = {visuals}
{fields}
prompt_words = 8
answer_tokens = {tokens}
ignore_eos = true
"""
POOLED_TOKENS = 14 * 14  # of a visual of 27x27 patches pooled by 2
TEXT_TOKENS = 40  # of a prompt beside its visuals, roughly
LOAD_TEST = [str(Path(sys.executable).with_name("llava-interleave")), "bench"]
Figures = dict[str, float]  # of one round
Measured = dict[str, dict[str, list[Figures]]]  # the rounds by case and peer


def run_round(
    url: str, case: str, *, seed: int, tokens: int, concurrency: int = 1, requests: int | None = None, warmup: int = 0
) -> Figures:
    """Runs one case once, and returns the seconds to the first token and to the end, and requests a second.

    Args:
        url: of the server.
        case: one of CASES.
        seed: of the media.
        tokens: of each answer.
        concurrency: requests at a time.
        requests: in all; as many as at a time if None.
        warmup: first requests that are not counted.

    Raises RuntimeError if a request is not answered.

    """
    number = requests or concurrency
    with tempfile.TemporaryDirectory() as folder:
        workload, report = Path(folder, "case.toml"), Path(folder, "report.json")
        visuals, fields = CASES[case]
        workload.write_text(WORKLOAD.format(name=case, visuals=visuals, fields=fields, tokens=tokens))
        options = ["--arrivals", "closed", "--concurrency", str(concurrency), "--requests", str(number)]
        options += ["--warmup-requests", str(warmup), "--seed", str(seed), "--url", url]
        options += ["--timeout", "1200", "--drain", "1200", "--json", str(report), "--quiet"]
        subprocess.run([*LOAD_TEST, str(workload), *options], check=True, stdout=subprocess.DEVNULL)
        figures: dict[str, Any] = json.loads(report.read_text())["all"]
    if figures["answered"] != number - warmup:
        raise RuntimeError(f"{case}: {figures['answered']} of {number - warmup} answered: {figures['errors']}")
    return {
        "ttft": figures["ttft"]["p50"],
        "e2e": figures["e2e"]["p50"],
        "requests_per_second": figures["rates"]["requests"],
    }


def measure(arguments: argparse.Namespace) -> tuple[Measured, dict[str, float], list[float]]:
    """Returns the rounds by case and peer, seconds to ready by peer, and the matrix products' FLOP/s of every round."""
    measured: Measured = {case: {peer: [] for peer in arguments.peers} for case in arguments.cases}
    ceilings = []
    with servers.running_peers(arguments) as running:
        for server in running.values():
            run_round(server.url, "1 image", seed=1, tokens=arguments.tokens)  # what is slow the first time
        for index, case in enumerate(arguments.cases):
            for number in range(arguments.rounds):
                ceilings.append(flops.matrix_products_per_second())
                for peer, server in running.items():
                    if case == POOLED and peer != "ours":
                        continue
                    figures = run_round(
                        server.url,
                        case,
                        seed=2 + index * arguments.rounds + number,
                        tokens=arguments.tokens,
                        concurrency=arguments.concurrency,
                    )
                    measured[case][peer].append(figures)
                    print(f"{case}, {peer}: {figures}", file=sys.stderr, flush=True)
        ready = {peer: round(server.seconds_to_ready, 1) for peer, server in running.items()}
    return measured, ready, ceilings


def prompt_tokens(case: str, size: Size) -> int:
    """Tokens of a request of the case, roughly."""
    return CASES[case][0] * (POOLED_TOKENS if case == POOLED else size.patches) + TEXT_TOKENS


def cell(case: str, rounds: list[Figures], size: Size, concurrency: int, ceiling: float) -> str:
    """The table's cell of one case and peer: medians of its rounds, and their share of `ceiling` FLOP/s."""
    if not rounds:
        return "as unpooled"
    visuals, _ = CASES[case]
    flop = flops.tower(size, visuals) + flops.prefill(size, prompt_tokens(case, size))
    ttft, rate = (statistics.median(figures[name] for figures in rounds) for name in ("ttft", "requests_per_second"))
    # A request alone takes its time to the first token; one among others takes its share of the rate.
    seconds = ttft if concurrency == 1 else 1 / rate
    return f"{ttft:.2f}, {rate:.3f}, {flop / seconds / ceiling:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    servers.add_options(parser, ("ours", "stock", "transformers"), context=16_384)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=3, help="of each case (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=1, help="requests at a time (%(default)s)")
    parser.add_argument("--tokens", type=int, default=8, help="of each answer (%(default)s)")
    arguments = parser.parse_args()
    size = servers.prepare(arguments)
    measured, ready, ceilings = measure(arguments)
    ceiling = statistics.median(ceilings)
    print("| case | " + " | ".join(f"{peer}: s to first token, requests/s, of the ceiling" for peer in ready) + " |")
    print("|---" * (1 + len(ready)) + "|")
    for case, by_peer in measured.items():
        cells = [cell(case, rounds, size, arguments.concurrency, ceiling) for rounds in by_peer.values()]
        print(f"| {case} | {' | '.join(cells)} |")
    gflops = [round(flop_per_second / 1e9) for flop_per_second in ceilings]
    print(json.dumps({"seconds_to_ready": ready, "ceiling_gflops": gflops, "seen": measured}))


if __name__ == "__main__":
    main()
