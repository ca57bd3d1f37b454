"""The same requests to this server, vLLM's own and transformers, one after the other, on a checkpoint of a real size.

`python benchmarks/peers.py --checkpoint FOLDER --torchvision FOLDER`: the first is written by make_checkpoint.py if it
is not there, into the second `scripts/peer_torchvision.sh` has put a torchvision for vLLM's LLaVA class and the hub's
processor. Each case is a workload of `llava-interleave bench`, asked one request at a time, new media each time; peers
get frames as images, and no pooling. Prints a table of times to the first token with their share of the machine's own
bfloat16 matrix products, measured before and after, and one JSON line last.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import make_checkpoint
import servers
import torch

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
BENCH = [str(Path(sys.executable).with_name("llava-interleave")), "bench"]


def command(peer: str, checkpoint: Path, context: int) -> tuple[list[str], str]:
    """A peer's command without its port, and the route that is 200 once it serves."""
    sizes = ["--dtype", "bfloat16", "--max-model-len", str(context)]
    match peer:
        case "ours":
            return servers.ours(str(checkpoint), *sizes), "/ready"
        case "stock":
            return servers.stock(checkpoint, *sizes, "--limit-mm-per-prompt", '{"image": 16}'), "/health"
        case _:
            return [sys.executable, str(Path(__file__).with_name("transformers_server.py")), str(checkpoint)], "/health"


def products() -> float:
    """bfloat16 matrix products of this machine, FLOP a second, the best of several."""
    left, right = torch.randn(2048, 4096).bfloat16(), torch.randn(4096, 4096).bfloat16()
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - started)
    return 2 * 2048 * 4096 * 4096 / best


def work(size: make_checkpoint.Size, visuals: int, tokens_each: int) -> float:
    """FLOP from pixels to the first token: tower, projector, and the language model's prefill, causal attention."""
    patches, wide = size.patches, size.tower_hidden
    layer = 2 * patches * wide * (4 * wide + 2 * size.tower_intermediate) + 4 * patches**2 * wide
    projector = 2 * patches * size.hidden * (wide + size.hidden)
    tokens = visuals * tokens_each + TEXT
    block = 2 * tokens * size.hidden * (4 * size.hidden + 3 * size.intermediate) + 2 * tokens**2 * size.hidden
    return visuals * (size.tower_layers * layer + projector) + size.layers * block


def asked(server: servers.Server, case: str, requests: int, tokens: int, seed: int) -> dict[str, float]:
    """Seconds to the first token and to the end, medians, and requests a second, of one case."""
    with tempfile.TemporaryDirectory() as folder:
        workload, found = Path(folder, "case.toml"), Path(folder, "found.json")
        visuals, fields = CASES[case]
        workload.write_text(WORKLOAD.format(name=case, visuals=visuals, fields=fields, tokens=tokens))
        options = ["--arrivals", "closed", "--concurrency", "1", "--requests", str(requests), "--seed", str(seed)]
        options += ["--url", server.url, "--timeout", "1200", "--drain", "1200", "--json", str(found), "--quiet"]
        subprocess.run([*BENCH, str(workload), *options], check=True, stdout=subprocess.DEVNULL)
        numbers: dict[str, Any] = json.loads(found.read_text())["all"]
    if numbers["answered"] != requests:
        raise RuntimeError(f"{case}: {numbers['answered']} of {requests} answered: {numbers['errors']}")
    return {
        "ttft": numbers["ttft"]["p50"],
        "e2e": numbers["e2e"]["p50"],
        "requests_per_second": numbers["rates"]["requests"],
    }


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """By peer and case."""
    seen: dict[str, dict[str, dict[str, float]]] = {}
    paths = [str(arguments.torchvision), os.environ.get("PYTHONPATH", "")]
    for peer in arguments.peers:
        line, route = command(peer, arguments.checkpoint, arguments.max_model_len)
        # vLLM would keep one core for its front end; every peer's model is to have them all.
        environment = {"VLLM_CPU_KVCACHE_SPACE": "3", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0", "HF_HUB_OFFLINE": "1"}
        if peer != "ours":
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        with servers.running(line, route, arguments.log and arguments.log / peer, **environment) as server:
            asked(server, "1 image", 1, arguments.tokens, seed=1)  # what is slow the first time
            seen[peer] = {"": {"seconds_to_ready": round(server.seconds_to_ready, 1)}}
            for seed, case in enumerate(arguments.cases, 2):
                seen[peer][case] = asked(server, case, arguments.requests, arguments.tokens, seed)
                print(f"{peer}, {case}: {seen[peer][case]}", file=sys.stderr, flush=True)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("build/0.5b"))
    parser.add_argument("--size", choices=make_checkpoint.SIZES, default="0.5b")
    parser.add_argument("--torchvision", type=Path, default=Path("build/peer-torchvision"))
    parser.add_argument("--peers", nargs="+", default=["ours", "stock", "transformers"])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--requests", type=int, default=3, help="of each case (%(default)s)")
    parser.add_argument("--tokens", type=int, default=8, help="of each answer (%(default)s)")
    parser.add_argument("--max-model-len", type=int, default=16_384, help="of vLLM's (%(default)s)")
    parser.add_argument("--log", type=Path, help="folder for the servers' logs")
    arguments = parser.parse_args()
    arguments.checkpoint, arguments.torchvision = arguments.checkpoint.resolve(), arguments.torchvision.resolve()
    if arguments.log:
        for peer in arguments.peers:
            (arguments.log / peer).mkdir(parents=True, exist_ok=True)
    size = make_checkpoint.SIZES[arguments.size]
    if not (arguments.checkpoint / "config.json").exists():
        make_checkpoint.write(size, arguments.checkpoint)
    ceilings = [products()]
    seen = measure(arguments)
    ceilings.append(products())
    ceiling = statistics.mean(ceilings)
    print("| case | " + " | ".join(f"{peer}: s to first token, share of the ceiling" for peer in seen) + " |")
    print("|---" * (1 + len(seen)) + "|")
    for case in arguments.cases:
        cells = []
        for peer, found in seen.items():
            tokens_each = POOLED_TOKENS if peer == "ours" and case == POOLED else size.patches
            flop = work(size, CASES[case][0], tokens_each)
            cells.append(f"{found[case]['ttft']:.2f}, {flop / found[case]['ttft'] / ceiling:.0%}")
        print(f"| {case} | {' | '.join(cells)} |")
    print(json.dumps({"ceiling_gflops": [round(one / 1e9) for one in ceilings], "seen": seen}))


if __name__ == "__main__":
    main()
