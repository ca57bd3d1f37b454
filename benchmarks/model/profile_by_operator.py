"""Profiles a request's vision tower and prefill by operator.

`python -m llava_interleave_serve.benchmarks.model.profile_by_operator CHECKPOINT`

One engine runs in this process, eager, in bfloat16, on the CPU, with the steps of this server. It answers a request
of new images, without cached prefixes, to the first token, under torch's profiler. Prints a table of each part's
operators (self time, without children) with the share of the machine's bfloat16 matrix products, measured in the same
run, that the part's FLOP make; then one JSON line. The profiler itself costs little beside operators of milliseconds.
"""

import argparse
import json
import os
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch.profiler import ProfilerActivity, profile, record_function

from llava_interleave_serve.benchmarks.model import flops
from llava_interleave_serve.benchmarks.model.dimensions import SIZES
from llava_interleave_serve.model_executor.visual import Visual

TEXT_TOKENS = 40  # behind the images
# The parts of a request, by the method of the model that they run in.
PARTS = {"embed_multimodal": "tower and projector", "forward": "language model", "": "the rest"}
SMALLEST_SHARE = 0.005  # of the whole time; operators that take less are summed up


def recorded(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Wraps a function so that its calls are ranges of the profile."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with record_function(name):
            return function(*args, **kwargs)

    return wrapper


def part_of(event: Any) -> str:
    """The key in PARTS of the method that an operator's event happened in."""
    while event is not None:
        if event.name in PARTS:
            return str(event.name)
        event = event.cpu_parent
    return ""


def start_engine(checkpoint: Path, images: int) -> Any:
    """Starts vLLM's engine for requests of so many images, with PARTS recorded."""
    from vllm import LLM  # noqa: PLC0415 - reads the environment, which main sets

    llm = LLM(
        model=str(checkpoint),
        hf_overrides={"architectures": ["LlavaInterleaveForConditionalGeneration"]},
        dtype="bfloat16",
        enforce_eager=True,
        distributed_executor_backend="uni",
        skip_mm_profiling=True,
        max_model_len=16_384,
        max_num_batched_tokens=2_048,
        ec_manager_config={
            "encoder_cache_manager_cls": "llava_interleave_serve.model_executor.encoder_cache.VisualCache"
        },
        limit_mm_per_prompt={"image": images, "video": 0},
        enable_prefix_caching=False,
    )

    def record_parts(model: Any) -> None:
        for name in filter(None, PARTS):
            setattr(model, name, recorded(getattr(model, name), name))

    llm.apply_model(record_parts)
    return llm


def seconds_by_operator(llm: Any, images: int) -> Counter[tuple[str, str]]:
    """Seconds of self time, to a request's first token, by key in PARTS and operator."""
    from vllm import SamplingParams  # noqa: PLC0415 - reads the environment, which main sets

    config = llm.llm_engine.model_config.hf_config
    side, rng = config.vision_config.image_size, np.random.default_rng(images)

    def run_request() -> None:
        visuals = [Visual(rng.integers(0, 256, (1, side, side, 3), dtype=np.uint8)) for _ in range(images)]
        prompt = {"prompt_token_ids": [config.image_token_index] * images + [11] * TEXT_TOKENS}
        settings = SamplingParams(max_tokens=1, temperature=0.0)
        llm.generate([{**prompt, "multi_modal_data": {"image": visuals}}], settings, use_tqdm=False)

    run_request()  # what is slow the first time
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run_request()
    seconds: Counter[tuple[str, str]] = Counter()
    for event in profiler.events():
        seconds[part_of(event), event.name] += event.self_cpu_time_total / 1e6
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="of a real size, as random_checkpoint writes it")
    parser.add_argument("--size", choices=SIZES, default="0.5b", help="of the checkpoint (%(default)s)")
    parser.add_argument("--images", type=int, default=4, help="of the request (%(default)s)")
    arguments = parser.parse_args()
    settings = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0", "TORCHDYNAMO_DISABLE": "1"}
    for variable, setting in {**settings, "VLLM_CPU_KVCACHE_SPACE": "3", "VLLM_NO_USAGE_STATS": "1"}.items():
        os.environ.setdefault(variable, setting)
    size, ceilings = SIZES[arguments.size], [flops.matrix_products_per_second()]
    work = {
        "embed_multimodal": flops.tower(size, arguments.images),
        "forward": flops.prefill(size, arguments.images * size.patches + TEXT_TOKENS),
    }
    seconds = seconds_by_operator(start_engine(arguments.checkpoint, arguments.images), arguments.images)
    ceilings.append(flops.matrix_products_per_second())
    total, ceiling = seconds.total(), statistics.mean(ceilings)
    print("| part | operator | s | of the time | of the ceiling |\n|---|---|---|---|---|")
    for method, part in PARTS.items():
        inside = Counter({operator: value for (name, operator), value in seconds.items() if name == method})
        share = f"{work[method] / inside.total() / ceiling:.0%}" if method in work else ""
        print(f"| {part} | all | {inside.total():.3f} | {inside.total() / total:.1%} | {share} |")
        large = {operator: value for operator, value in inside.most_common() if value >= SMALLEST_SHARE * total}
        others = inside.total() - sum(large.values())
        for operator, value in [*large.items(), ("others", others)]:
            print(f"| | {operator} | {value:.3f} | {value / total:.1%} | |")
    gflops = [round(flop_per_second / 1e9) for flop_per_second in ceilings]
    longest = {f"{name}/{operator}": value for (name, operator), value in seconds.most_common(40)}
    print(json.dumps({"images": arguments.images, "ceiling_gflops": gflops, "seconds": longest}))


if __name__ == "__main__":
    main()
