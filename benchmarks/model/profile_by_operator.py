"""Where the time of a request's pixels and prefill goes, by operator.

`python -m llava_interleave_serve.benchmarks.model.profile_by_operator CHECKPOINT`

One engine in this process, eager, in bfloat16, on the CPU, with our server's steps; a request of unique images, without
cached prefixes, to its first token, under torch's profiler. Prints a table of each part's operators (their own time,
children left out) with the share of the machine's bfloat16 matrix products, measured in the same run, that the part's
FLOP make; then one JSON line. The profiler itself costs little beside operators of milliseconds.
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

from llava_interleave_serve.benchmarks.model import flops, random_checkpoint
from llava_interleave_serve.model_executor.visual import Visual

TEXT = 40  # tokens behind the images
PARTS = {"embed_multimodal": "tower and projector", "forward": "language model", "": "the rest"}
LEAST = 0.005  # of the whole; what takes less is told together


def named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function, as a range of the profile."""

    def ranged(*args: Any, **kwargs: Any) -> Any:
        with record_function(name):
            return function(*args, **kwargs)

    return ranged


def part(event: Any) -> str:
    """Of which of the model's methods an operator is."""
    while event is not None:
        if event.name in PARTS:
            return str(event.name)
        event = event.cpu_parent
    return ""


def engine(checkpoint: Path, images: int) -> Any:
    from vllm import LLM  # noqa: PLC0415 - reads the environment

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

    def mark(model: Any) -> None:
        for name in filter(None, PARTS):
            setattr(model, name, named(getattr(model, name), name))

    llm.apply_model(mark)
    return llm


def seconds_by_operator(llm: Any, images: int) -> Counter[tuple[str, str]]:
    """Seconds of a request's operators to its first token, by the model's part."""
    from vllm import SamplingParams  # noqa: PLC0415

    config = llm.llm_engine.model_config.hf_config
    side, rng = config.vision_config.image_size, np.random.default_rng(images)

    def ask() -> None:
        visuals = [Visual(rng.integers(0, 256, (1, side, side, 3), dtype=np.uint8)) for _ in range(images)]
        prompt = {"prompt_token_ids": [config.image_token_index] * images + [11] * TEXT}
        settings = SamplingParams(max_tokens=1, temperature=0.0)
        llm.generate([{**prompt, "multi_modal_data": {"image": visuals}}], settings, use_tqdm=False)

    ask()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        ask()
    took: Counter[tuple[str, str]] = Counter()
    for event in seen.events():
        took[part(event), event.name] += event.self_cpu_time_total / 1e6
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="of a real size, as make_checkpoint.py writes it")
    parser.add_argument(
        "--size", choices=random_checkpoint.SIZES, default="0.5b", help="of the checkpoint (%(default)s)"
    )
    parser.add_argument("--images", type=int, default=4, help="of the request (%(default)s)")
    arguments = parser.parse_args()
    settings = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0", "TORCHDYNAMO_DISABLE": "1"}
    for name, value in {**settings, "VLLM_CPU_KVCACHE_SPACE": "3", "VLLM_NO_USAGE_STATS": "1"}.items():
        os.environ.setdefault(name, value)
    size, ceilings = random_checkpoint.SIZES[arguments.size], [flops.products()]
    work = {
        "embed_multimodal": flops.tower(size, arguments.images),
        "forward": flops.prefill(size, arguments.images * size.patches + TEXT),
    }
    took = seconds_by_operator(engine(arguments.checkpoint, arguments.images), arguments.images)
    ceilings.append(flops.products())
    whole, ceiling = took.total(), statistics.mean(ceilings)
    print("| part | operator | s | of the time | of the ceiling |\n|---|---|---|---|---|")
    for name, words in PARTS.items():
        inside = Counter({operator: seconds for (of, operator), seconds in took.items() if of == name})
        reached = f"{work[name] / inside.total() / ceiling:.0%}" if name in work else ""
        print(f"| {words} | all | {inside.total():.3f} | {inside.total() / whole:.1%} | {reached} |")
        large = {operator: seconds for operator, seconds in inside.most_common() if seconds >= LEAST * whole}
        small = inside.total() - sum(large.values())
        for operator, seconds in [*large.items(), ("others", small)]:
            print(f"| | {operator} | {seconds:.3f} | {seconds / whole:.1%} | |")
    gflops = [round(one / 1e9) for one in ceilings]
    seconds_by_name = {f"{of}/{operator}": seconds for (of, operator), seconds in took.most_common(40)}
    print(json.dumps({"images": arguments.images, "ceiling_gflops": gflops, "seconds": seconds_by_name}))


if __name__ == "__main__":
    main()
