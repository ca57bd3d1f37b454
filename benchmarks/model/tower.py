"""Times the vision tower and the projector with and without CUDA graphs, and with layers compiled by torch.

`python -m llava_interleave_serve.benchmarks.model.tower CHECKPOINT [--compile] [--views 1 2 4 8 16]`

One engine of this server's model runs in this process, with vLLM's own manager of encoder graphs. For each number of
views, all ways of encoding take turns; first their rows are compared with the eager ones. On a CPU there are no graphs.
Prints a line for each number of views, and one JSON line last. The exit code is 1 if rows differ by more than rounding.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llava_interleave_serve.benchmarks.model import flops
from llava_interleave_serve.model_executor import packing
from llava_interleave_serve.model_executor.visual import Visual

TURNS = 3
Rows = list[torch.Tensor]


def start_engine(checkpoint: Path, *, compiles: bool) -> Any:
    """Starts vLLM's engine in this process, with encoder graphs where there is a GPU."""
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    from vllm import LLM  # noqa: PLC0415 - reads the environment

    has_gpu = torch.cuda.is_available()
    return LLM(
        model=str(checkpoint),
        hf_overrides={"architectures": ["LlavaInterleaveForConditionalGeneration"]},
        dtype="bfloat16",
        distributed_executor_backend="uni",
        enforce_eager=not (has_gpu or compiles),
        compilation_config={"cudagraph_mm_encoder": has_gpu, "compile_mm_encoder": compiles},
        skip_mm_profiling=True,
        max_model_len=4_096,
        max_num_batched_tokens=16_384 if has_gpu else 4_096,
        max_num_seqs=8,
        kv_cache_memory_bytes=1 << 30,
        limit_mm_per_prompt={"image": 1, "video": 0},
    )


@contextlib.contextmanager
def uncompiled(model: Any) -> Iterator[None]:
    """Has the tower's layers run as they are written."""
    layers = [layer for layer in model.vision_tower.modules() if not getattr(layer, "do_not_compile", True)]
    for layer in layers:
        layer.do_not_compile = True
    try:
        yield
    finally:
        for layer in layers:
            layer.do_not_compile = False


def ways(worker: Any, views: torch.Tensor, *, compiles: bool) -> dict[str, Callable[[], Rows]]:
    """The ways to encode views, uint8 [n, 1, S, S, 3] on the worker's device; `eager` first."""
    model, runner = worker.get_model(), worker.model_runner
    packings = torch.tensor([packing.encode(Visual(np.zeros((1, 1, 1, 3), np.uint8)))] * len(views))
    given = {"views": views, "packings": packings}

    def eager() -> Rows:
        with uncompiled(model):
            return list(model.embed_multimodal(**given))

    found: dict[str, Callable[[], Rows]] = {"eager": eager}
    if compiles:
        found["compiled"] = lambda: list(model.embed_multimodal(**given))
    manager = getattr(runner, "encoder_cudagraph_manager", None)
    if manager is None and hasattr(runner, "model_state"):  # vLLM's second model runner
        manager = runner.model_state.encoder_runner.cudagraph_manager
    if manager is None and torch.cuda.is_available():
        raise RuntimeError("vLLM has made no graphs of the encoder")
    if manager is not None:
        found["compiled, in graphs" if compiles else "graphs"] = lambda: list(manager.execute(dict(given)))
    return found


def distance(rows: Rows, eager: Rows) -> float:
    """The norm of the difference, relative to the eager rows'."""
    ours, theirs = torch.cat(rows).double(), torch.cat(eager).double()
    return float((ours - theirs).norm() / theirs.norm())


def measure(worker: Any, counts: list[int], repeats: int, *, compiles: bool) -> list[dict[str, Any]]:
    """Compares and times the ways for each number of views; milliseconds, medians of all turns."""
    model = worker.get_model()
    size, device = model.config.vision_config.image_size, str(worker.device)
    # Each layer rounds the sum of its residual stream twice, by half an eps each.
    allowed = len(model.vision_tower.vision_model.encoder.layers) * torch.finfo(torch.bfloat16).eps / 2
    lines = []
    for count in counts:
        random = torch.Generator().manual_seed(count)
        views = torch.randint(0, 256, (count, 1, size, size, 3), dtype=torch.uint8, generator=random).to(device)
        with torch.inference_mode():
            encoders = ways(worker, views, compiles=compiles)
            eager = encoders["eager"]()
            distances = {name: distance(encode(), eager) for name, encode in encoders.items()}
            times: dict[str, list[float]] = {name: [] for name in encoders}
            for _ in range(TURNS):
                for name, encode in encoders.items():
                    times[name] += [seconds(encode, device) for _ in range(repeats)]
        lines.append(
            {
                "views": count,
                "ms": {name: round(statistics.median(each) * 1e3, 3) for name, each in times.items()},
                "distance": {name: round(each, 5) for name, each in distances.items()},
                "wrong": [name for name, each in distances.items() if not each <= allowed],
            }
        )
    return lines


def seconds(encode: Callable[[], Rows], device: str) -> float:
    """The time of one call, from an idle device to an idle device."""
    flops.synchronize(device)
    start = time.perf_counter()
    encode()
    flops.synchronize(device)
    return time.perf_counter() - start


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("checkpoint", type=Path, help="of which the tower is timed")
    options.add_argument("--views", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="of a call (%(default)s)")
    options.add_argument("--repeats", type=int, default=10, help=f"of each of {TURNS} turns (%(default)s)")
    options.add_argument("--compile", action="store_true", help="the tower's layers by torch.compile")
    return options


def main() -> None:
    arguments = parser().parse_args()
    engine = start_engine(arguments.checkpoint, compiles=arguments.compile)
    (lines,) = engine.collective_rpc(
        lambda worker: measure(worker, arguments.views, arguments.repeats, compiles=arguments.compile)
    )
    for line in lines:
        print(line, flush=True)
    print(json.dumps({"checkpoint": arguments.checkpoint.name, "calls": lines}))
    sys.exit(1 if any(line["wrong"] for line in lines) else 0)


if __name__ == "__main__":
    main()
