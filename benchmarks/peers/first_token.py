"""The same requests to this server, vLLM's own and transformers, in turns, on a checkpoint of a real size.

`python -m llava_interleave_serve.benchmarks.peers.first_token --checkpoint FOLDER --torchvision FOLDER`

The first folder is written by model/random_checkpoint.py if it is not there; into the second
`scripts/install_peer_torchvision.sh` has put a torchvision for vLLM's LLaVA class and the hub's
processor. All run at once, and are asked one after the other, so that a slow minute of the machine strikes all. Each
case is a workload of `llava-interleave bench`, new media each time; peers get frames as images, and cannot pool. Prints
a table of medians: seconds to the first token, requests a second, and the share of the machine's own bfloat16 matrix
products, measured between the rounds; and one JSON line last.
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
from llava_interleave_serve.benchmarks.peers import servers
from llava_interleave_serve.benchmarks.server import processes

POOLED = "16 frames pooled"
# The visuals of each, and what else its class of requests says.
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
POOLED_TOKENS = 14 * 14  # tokens of a visual of 27x27 patches pooled by 2
TEXT = 40  # tokens about the visuals, roughly
Seen = dict[str, dict[str, list[dict[str, float]]]]
BENCH = [str(Path(sys.executable).with_name("llava-interleave")), "bench"]


def asked(server: processes.Server, case: str, arguments: argparse.Namespace, seed: int) -> dict[str, float]:
    """Seconds to the first token and to the end, and requests a second, of one round of one case."""
    at_once = str(arguments.concurrency)
    with tempfile.TemporaryDirectory() as folder:
        workload, found = Path(folder, "case.toml"), Path(folder, "found.json")
        visuals, fields = CASES[case]
        workload.write_text(WORKLOAD.format(name=case, visuals=visuals, fields=fields, tokens=arguments.tokens))
        options = ["--arrivals", "closed", "--concurrency", at_once, "--requests", at_once, "--seed", str(seed)]
        options += ["--url", server.url, "--timeout", "1200", "--drain", "1200", "--json", str(found), "--quiet"]
        subprocess.run([*BENCH, str(workload), *options], check=True, stdout=subprocess.DEVNULL)
        numbers: dict[str, Any] = json.loads(found.read_text())["all"]
    if numbers["answered"] != arguments.concurrency:
        raise RuntimeError(f"{case}: {numbers['answered']} of {at_once} answered: {numbers['errors']}")
    return {
        "ttft": numbers["ttft"]["p50"],
        "e2e": numbers["e2e"]["p50"],
        "requests_per_second": numbers["rates"]["requests"],
    }


def measure(arguments: argparse.Namespace) -> tuple[Seen, dict[str, float], list[float]]:
    """The rounds by case and peer, seconds to ready by peer, and the matrix products of every round."""
    seen: Seen = {case: {peer: [] for peer in arguments.peers} for case in arguments.cases}
    ceilings = []
    with servers.all_running(arguments) as running:
        for server in running.values():
            asked(server, "1 image", arguments, seed=1)  # what is slow the first time
        for at, case in enumerate(arguments.cases):
            for number in range(arguments.rounds):
                ceilings.append(flops.products())
                for peer, server in running.items():
                    if case == POOLED and peer != "ours":
                        continue
                    seen[case][peer].append(asked(server, case, arguments, seed=2 + at * arguments.rounds + number))
                    print(f"{case}, {peer}: {seen[case][peer][-1]}", file=sys.stderr, flush=True)
        ready = {peer: round(server.seconds_to_ready, 1) for peer, server in running.items()}
    return seen, ready, ceilings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    servers.add_options(parser, ("ours", "stock", "transformers"), context=16_384)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=3, help="of each case (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=1, help="requests at a time (%(default)s)")
    parser.add_argument("--tokens", type=int, default=8, help="of each answer (%(default)s)")
    arguments = parser.parse_args()
    size = servers.prepare(arguments)
    seen, ready, ceilings = measure(arguments)
    ceiling = statistics.median(ceilings)
    print("| case | " + " | ".join(f"{peer}: s to first token, requests/s, of the ceiling" for peer in ready) + " |")
    print("|---" * (1 + len(ready)) + "|")
    for case, by_peer in seen.items():
        cells = []
        for rounds in by_peer.values():
            if not rounds:
                cells.append("as unpooled")
                continue
            tokens_each = POOLED_TOKENS if case == POOLED else size.patches
            flop = flops.tower(size, CASES[case][0]) + flops.prefill(size, CASES[case][0] * tokens_each + TEXT)
            ttft, rate = (statistics.median(one[name] for one in rounds) for name in ("ttft", "requests_per_second"))
            # Alone, a request's work is what its first token waits for; among others, what the rate leaves it.
            seconds = ttft if arguments.concurrency == 1 else 1 / rate
            cells.append(f"{ttft:.2f}, {rate:.3f}, {flop / seconds / ceiling:.0%}")
        print(f"| {case} | {' | '.join(cells)} |")
    gflops = [round(one / 1e9) for one in ceilings]
    print(json.dumps({"seconds_to_ready": ready, "ceiling_gflops": gflops, "seen": seen}))


if __name__ == "__main__":
    main()
