"""Measures the prefill of a running server: the time to the first token of a request alone, with new media each time.

`python -m llava_interleave_serve.benchmarks.peers.prefill --url URL [--cases CASE ...]`

The cases are those of `first_token`; a server that cannot pool is not asked about pooled frames. Prints a line a case,
and as one JSON line last: the median seconds to the first token, the prompt's tokens in that time, and the share of the
device's bfloat16 matrix products, measured before, that the request's FLOP make.
"""

import argparse
import json

import torch

from llava_interleave_serve.benchmarks.model import flops
from llava_interleave_serve.benchmarks.model.dimensions import SIZES
from llava_interleave_serve.benchmarks.peers.first_token import CASES, POOLED, prompt_tokens, run_round


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--url", required=True, help="of the server, without /v1")
    options.add_argument("--size", choices=SIZES, default="0.5b", help="of its model (%(default)s)")
    cases = [case for case in CASES if case != POOLED]
    options.add_argument("--cases", nargs="+", choices=CASES, default=cases, help="(all that every server can answer)")
    options.add_argument("--rounds", type=int, default=3, help="of each case, after one that is not counted")
    return options


def main() -> None:
    arguments = parser().parse_args()
    size = SIZES[arguments.size]
    ceiling = flops.matrix_products_per_second("cuda" if torch.cuda.is_available() else "cpu")
    measured = {}
    for index, case in enumerate(arguments.cases):
        rounds = arguments.rounds + 1
        figures = run_round(arguments.url, case, seed=2 + index, tokens=1, requests=rounds, warmup=1)
        tokens, seconds = prompt_tokens(case, size), figures["ttft"]
        flop = flops.tower(size, CASES[case][0]) + flops.prefill(size, tokens)
        measured[case] = {
            "s_to_first_token": round(seconds, 4),
            "tokens_per_s": round(tokens / seconds),
            "of_the_ceiling": round(flop / seconds / ceiling, 3),
        }
        print(f"{case}: {measured[case]}", flush=True)
    print(json.dumps({"ceiling_gflops": round(ceiling / 1e9), "cases": measured}))


if __name__ == "__main__":
    main()
