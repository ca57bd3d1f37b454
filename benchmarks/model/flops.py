"""Counts floating point operations: those that this machine does a second, and those that the model needs.

`python -m llava_interleave_serve.benchmarks.model.flops [--size SIZE] [--images N]`

A multiplication and an addition are two FLOP; only matrix products and attention are counted. Prints one JSON line.
"""

import argparse
import json
import time

import torch

from llava_interleave_serve.benchmarks.model.dimensions import SIZES, Size

ROUNDS = 6


def matrix_products_per_second(device: str = "cpu") -> float:
    """FLOP a second of a device's bfloat16 matrix products [2048, 4096] x [4096, 4096], the best of ROUNDS."""
    left, right = (torch.randn(rows, 4096).to(device, torch.bfloat16) for rows in (2048, 4096))
    best = float("inf")
    for _ in range(ROUNDS):
        synchronize(device)
        start = time.perf_counter()
        torch.mm(left, right)
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * 2048 * 4096 * 4096 / best


def synchronize(device: str) -> None:
    """Waits until the device has done what was launched; a CPU always has."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def tower(size: Size, visuals: int) -> float:
    """FLOP of the vision tower and the projector for so many unpooled visuals.

    For each layer of the tower, with P patches of width W and an MLP of width M: 2PW * 4W for the four projections of
    attention, 2PW * 2M for the MLP, and 4P^2W for the scores and the values' sums.
    """
    patches, width = size.patches, size.tower_hidden
    layer = 2 * patches * width * (4 * width + 2 * size.tower_intermediate) + 4 * patches**2 * width
    projector = 2 * patches * size.hidden * (width + size.hidden)
    return visuals * (size.tower_layers * layer + projector)


def prefill(size: Size, tokens: int) -> float:
    """FLOP of the language model's prefill of so many tokens, without the vocabulary's product.

    For each layer, with T tokens of width H and a gated MLP of width M: 2TH * (4H + 3M), and 2T^2H for causal
    attention, which is half of the whole square's 4T^2H.
    """
    linear = 2 * tokens * size.hidden * (4 * size.hidden + 3 * size.intermediate)
    return size.layers * (linear + 2 * tokens**2 * size.hidden)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="0.5b", help="of the model (%(default)s)")
    parser.add_argument("--images", type=int, default=1, help="of the request (%(default)s)")
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    flop = {
        "tower": tower(size, arguments.images),
        "prefill": prefill(size, arguments.images * size.patches),
        "machine_per_second": matrix_products_per_second(),
    }
    print(json.dumps({name: round(value / 1e9, 1) for name, value in flop.items()} | {"unit": "GFLOP"}))


if __name__ == "__main__":
    main()
