"""Compares the speed of the operators with that of the code that they replace.

`python -m llava_interleave_serve.benchmarks.kernels.speed [--visuals N] [--channels C] [--dtype D]`

First the result of each operator is compared with its definition in float64; a wrong one ends the run. Then the
operator, eager torch, `torch.compile` (on a GPU only) and, where it has one, vLLM's function are timed in turns, on a
GPU with a cold L2 cache. Prints medians, and the bandwidth as a share of what a plain copy reaches in the same run. One
JSON line last.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from llava_interleave_serve.kernels import cpu, index_plan, ops, reference
from llava_interleave_serve.kernels.index_plan import Packing, Tiles

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GRID, SIDE, PATCH, TOWER_WIDTH, TOWER_HEADS = 27, 384, 14, 1152, 16
TILES = Packing(tiles=Tiles(2, 2, 7, 0, 40, 54))  # of a picture of 640x480: 5 views, 2929 rows
TEXT_RUN = 20  # tokens of text after each visual
VOCABULARY = 32_000
FLUSH_BYTES = 256 * 2**20  # more than any L2 cache


@dataclass(frozen=True)
class Comparison:
    """Implementations of one operator on the same inputs."""

    name: str
    implementations: dict[str, Callable[[], torch.Tensor]]
    """By name; always `ours` and `eager`."""
    oracle: Callable[[], torch.Tensor]
    """Computes the result in float64."""
    moved: int
    """Bytes that have to be read and written."""


def comparisons(visuals: int, channels: int, dtype: torch.dtype, device: str) -> list[Comparison]:
    """The comparison of every operator, on so many visuals with features of so many channels."""
    random = torch.Generator().manual_seed(0)
    views = torch.randint(0, 256, (visuals, SIDE, SIDE, 3), dtype=torch.uint8, generator=random).to(device)
    weight = torch.randn(TOWER_WIDTH, 3, PATCH, PATCH, generator=random).to(device, dtype)
    scale, shift = (torch.full((3,), value, device=device) for value in (1 / 127.5, -1.0))
    features = torch.randn(visuals, GRID**2, channels, generator=random).to(device, dtype)
    compared = [_patchify(views, scale, shift, dtype), _embedding(views, scale, shift, weight)]
    mixed = [Packing(), Packing("average", 2), Packing("bilinear", 2), Packing("max", 3)]
    batches = {"average by 2": mixed[1:2], "bilinear by 2": mixed[2:3], "mixed": mixed, "tiles": [TILES]}
    for name, packings in batches.items():
        cycle = [packings[index % len(packings)] for index in range(visuals)]
        views = list(itertools.accumulate(packing.views for packing in cycle))
        fitting = max(1, sum(number <= visuals for number in views))
        if views[fitting - 1] <= visuals:
            compared.append(_pooling(name, features[: views[fitting - 1]], cycle[:fitting]))
    compared.append(_merge(features.flatten(0, 1), random))
    if device == "cpu" and dtype == torch.bfloat16:  # where the tower's attention is ours
        compared.append(_attention(torch.randn(visuals, GRID**2, 3 * TOWER_WIDTH, generator=random).to(dtype)))
    return compared


def _patchify(views: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, dtype: torch.dtype) -> Comparison:
    read, columns = (GRID * PATCH) ** 2 * 3, index_plan.patch_columns(PATCH)
    return Comparison(
        "patchify",
        {
            "ours": lambda: ops.patchify(views, scale, shift, PATCH, dtype),
            "eager": lambda: reference.patchify(views, scale, shift, PATCH, dtype),
        },
        lambda: reference.patchify(views, scale.double(), shift.double(), PATCH, torch.float64),
        len(views) * (read + GRID**2 * columns * dtype.itemsize),
    )


def _embedding(views: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, weight: torch.Tensor) -> Comparison:
    """The whole patch embedding: patchify and a matrix product, against a float image and a convolution."""
    flat = functional.pad(
        weight.permute(0, 2, 3, 1).flatten(1), (0, index_plan.patch_columns(PATCH) - weight[0].numel())
    )

    def convolved(dtype: torch.dtype) -> torch.Tensor:
        image = (views.float() * scale + shift).permute(0, 3, 1, 2).to(dtype)
        return torch.conv2d(image, weight.to(dtype), stride=PATCH).flatten(2).mT.flatten(0, 1)

    return Comparison(
        "patch embedding",
        {
            "ours": lambda: functional.linear(ops.patchify(views, scale, shift, PATCH, weight.dtype), flat),
            "eager": lambda: convolved(weight.dtype),
        },
        lambda: functional.linear(reference.patchify(views, scale, shift, PATCH, torch.float64), flat.double()),
        views.numel() + (flat.numel() + len(views) * GRID**2 * TOWER_WIDTH) * weight.itemsize,
    )


def _pooling(name: str, features: torch.Tensor, packings: list[Packing]) -> Comparison:
    plan = index_plan.build(GRID, packings).to(features.device)
    newline = features.new_ones(features.shape[2])
    read = sum(map(_patches_read, packings))
    return Comparison(
        f"pool_pack {name}",
        {
            "ours": lambda: ops.pool_pack(features, plan, newline),
            "eager": lambda: _pooled_by_torch(features, packings, newline),
        },
        lambda: reference.pool_pack(features.double(), packings, newline.double()),
        (read + len(plan)) * features.shape[2] * features.itemsize,
    )


def _patches_read(packing: Packing) -> int:
    """The number of a visual's patches that any tap falls on, in the whole and in its tiles."""
    if packing.tiles is not None:
        return GRID**2 + packing.tiles.rows * packing.tiles.columns
    return int(min(GRID, index_plan.pooled_side(GRID, packing.mode, packing.stride) * packing.stride) ** 2)


def _pooled_by_torch(features: torch.Tensor, packings: list[Packing], newline: torch.Tensor) -> torch.Tensor:
    """Pools a batch of mixed packings with torch's functions, one visual after the other, and concatenates the rows."""
    planes = features.unflatten(1, (GRID, GRID)).permute(0, 3, 1, 2)
    packed = []
    for members, (mode, stride, _, tiles) in zip(
        planes.split([each.views for each in packings]), packings, strict=True
    ):
        plane = members[:1]
        match mode:
            case "none":
                pooled = plane
            case "average":
                pooled = functional.avg_pool2d(plane, stride)
            case "max":
                pooled = functional.max_pool2d(plane, stride)
            case _:
                pooled = functional.interpolate(
                    plane, size=(index_plan.pooled_side(GRID, mode, stride),) * 2, mode="bilinear"
                )
        packed.append(pooled.permute(0, 2, 3, 1).flatten(0, 2))
        if tiles is not None:
            grid = members[1:].unflatten(0, (tiles.down, tiles.across)).permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
            kept = grid[:, tiles.first_row :, tiles.first_column :][:, : tiles.rows, : tiles.columns]
            ends = newline[:, None, None].expand(-1, tiles.rows, 1)
            packed.append(torch.cat((kept, ends), 2).flatten(1).T)
    return torch.cat(packed)


def _merge(rows: torch.Tensor, random: torch.Generator) -> Comparison:
    """The prefill of a request of many visuals, each followed by TEXT_RUN tokens of text, against vLLM's function."""
    visuals = len(rows) // GRID**2
    is_visual = torch.cat((torch.ones(GRID**2, dtype=torch.bool), torch.zeros(TEXT_RUN, dtype=torch.bool))).repeat(
        visuals
    )
    table = torch.randn(VOCABULARY, rows.shape[1], generator=random).to(rows)
    ids = torch.randint(0, VOCABULARY, is_visual.shape, generator=random).to(rows.device)

    def ours() -> torch.Tensor:
        return ops.merge_prefill(
            ids, table, rows, index_plan.visual_row_indices(is_visual).to(rows.device, non_blocking=True)
        )

    def vllm() -> torch.Tensor:  # what SupportsMultiModal.embed_input_ids and _merge_multimodal_embeddings do
        embeddings = functional.embedding(ids, table)
        embeddings[is_visual] = rows
        return embeddings

    row_indices = index_plan.visual_row_indices(is_visual).to(rows.device)
    return Comparison(
        "merge_prefill",
        {"ours": ours, "vllm": vllm, "eager": lambda: reference.merge_prefill(ids, table, rows, row_indices)},
        lambda: reference.merge_prefill(ids, table.double(), rows.double(), row_indices),
        2 * len(ids) * rows.shape[1] * rows.itemsize,
    )


def _attention(projected: torch.Tensor) -> Comparison:
    """The tower's attention against torch's; query, key and value are thirds of one linear layer's output."""
    query, key, value = projected.chunk(3, dim=-1)
    scale = (TOWER_WIDTH // TOWER_HEADS) ** -0.5

    def eager() -> torch.Tensor:
        split = (tensor.unflatten(2, (TOWER_HEADS, -1)).transpose(1, 2) for tensor in (query, key, value))
        return functional.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)

    return Comparison(
        "attention",
        {"ours": lambda: cpu.attention(query, key, value, TOWER_HEADS, scale), "eager": eager},
        lambda: reference.attention(query.double(), key.double(), value.double(), TOWER_HEADS, scale),
        4 * query.numel() * query.itemsize,
    )


def check(comparison: Comparison) -> None:
    """Raises ArithmeticError if our largest error is more than twice that of eager torch and one rounding together."""
    oracle = comparison.oracle()
    ours = comparison.implementations["ours"]()
    eager = comparison.implementations["eager"]()
    rounding = oracle.abs().max() * torch.finfo(ours.dtype).eps / 2
    error, allowed = (ours.double() - oracle).abs().max(), 2 * ((eager.double() - oracle).abs().max() + rounding)
    if not error <= allowed:
        raise ArithmeticError(
            f"{comparison.name}: an error of {error.item():.3g}, at most {allowed.item():.3g} is allowed"
        )


def microseconds(call: Callable[[], torch.Tensor], device: str, repeats: int) -> list[float]:
    """Times a call so many times, on a GPU with a cold L2 cache each time."""
    call()
    if device == "cpu":
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            call()
            times.append((time.perf_counter() - start) * 1e6)
        return times
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device)
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for start, end in events:
        flush.zero_()
        start.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) * 1e3 for start, end in events]


def bandwidth(device: str, repeats: int) -> float:
    """The GB/s of a plain copy of 256 MiB; each byte counts twice, as read and as written."""
    source = torch.ones(FLUSH_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * FLUSH_BYTES / statistics.median(microseconds(lambda: target.copy_(source), device, repeats)) / 1e3


def measure(comparison: Comparison, device: str, repeats: int) -> dict[str, Any]:
    """The medians in microseconds, how many times as fast ours is, and the bandwidth of ours."""
    implementations = dict(comparison.implementations)
    if device != "cpu":
        implementations["compiled"] = torch.compile(comparison.implementations["eager"])
    times: dict[str, list[float]] = {name: [] for name in implementations}
    for _ in range(3):  # in turns, so that a slow moment affects all
        for name, call in implementations.items():
            times[name] += microseconds(call, device, repeats)
    medians = {name: statistics.median(values) for name, values in times.items()}
    line: dict[str, Any] = {"operator": comparison.name, "us": {name: round(us, 1) for name, us in medians.items()}}
    line["speedup"] = {name: round(us / medians["ours"], 2) for name, us in medians.items() if name != "ours"}
    return line | {"gb_s": round(comparison.moved / medians["ours"] / 1e3, 1)}


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--visuals", type=int, default=64 if DEVICE == "cuda" else 8, help="(%(default)s)")
    options.add_argument("--channels", type=int, default=4096 if DEVICE == "cuda" else 1024, help="(%(default)s)")
    options.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), default="bfloat16", help="(%(default)s)"
    )
    options.add_argument("--repeats", type=int, default=20, help="of each of three turns (%(default)s)")
    return options


def main() -> None:
    arguments = parser().parse_args()
    dtype = getattr(torch, arguments.dtype)
    copy = bandwidth(DEVICE, arguments.repeats)
    lines = []
    for comparison in comparisons(arguments.visuals, arguments.channels, dtype, DEVICE):
        check(comparison)
        line = measure(comparison, DEVICE, arguments.repeats)
        lines.append(line | {"share_of_copy": round(line["gb_s"] / copy, 2)})
        print(lines[-1], flush=True)
    print(json.dumps({"device": DEVICE, "copy_gb_s": round(copy, 1), **vars(arguments), "operators": lines}))


if __name__ == "__main__":
    main()
