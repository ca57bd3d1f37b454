"""Shared parts of the two measured front ends: the checkpoint that they read, vLLM's renderer, and the measurement.

A front end turns the JSON body of a chat request into the engine's input. `own_front_end` and `vllm_front_end` are
the two; each runs in a process of its own and is asked by `pictures`.
"""

import argparse
import asyncio
import ctypes
import gc
import json
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.renderers import renderer_from_config

from llava_interleave_serve.benchmarks.media import peer_process, synthetic_files
from llava_interleave_serve.benchmarks.openai_api.content_parts import data_url, image_part
from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from llava_interleave_serve.server.media.decoding.process import TRIM_SECONDS

CONCURRENCY = 4  # requests that are rendered at a time
CONTEXT = 32_768  # tokens
IMAGE_SIZE, PATCH_SIZE = 384, 14  # of the published checkpoints
GRID = IMAGE_SIZE // PATCH_SIZE
TOKENS_PER_IMAGE = GRID**2
# Renders a request's JSON body to the engine's input and returns the length of the prompt in tokens.
Render = Callable[[bytes], Coroutine[Any, Any, int]]


def write_checkpoint(folder: Path) -> None:
    """Writes the files of a checkpoint of the published sizes that a front end reads: all but the weights."""
    config = json.loads((DEMO_CHECKPOINT / "config.json").read_text()) | {"image_seq_length": TOKENS_PER_IMAGE}
    config["vision_config"] |= {"image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE}
    config["vision_config"] |= {"hidden_size": 1152, "num_attention_heads": 16}
    config["text_config"] |= {"max_position_embeddings": CONTEXT}
    preprocessor = json.loads((DEMO_CHECKPOINT / "preprocessor_config.json").read_text())
    preprocessor |= {"size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE}}
    processor = {"processor_class": "LlavaProcessor", "image_token": "<image>", "patch_size": PATCH_SIZE}
    processor |= {"num_additional_image_tokens": 0, "vision_feature_select_strategy": "full"}
    for name, content in (("config", config), ("preprocessor_config", preprocessor), ("processor_config", processor)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (folder / name).write_bytes((DEMO_CHECKPOINT / name).read_bytes())


def vllm_renderer(checkpoint: Path, architecture: str) -> tuple[Any, Any]:
    """Returns vLLM's renderer for an architecture, and the configuration of its model."""
    args = AsyncEngineArgs(
        model=str(checkpoint),
        hf_overrides={"architectures": [architecture]},
        dtype="float32",
        max_model_len=CONTEXT,
        enforce_eager=True,
        skip_mm_profiling=True,
        mm_processor_cache_gb=0,
        limit_mm_per_prompt={"image": 64, "video": 0},
    )
    config = args.create_engine_config()
    return renderer_from_config(config), config.model_config


def request_body(data: bytes, file_format: str, images: int, number: int) -> bytes:
    """The JSON body of a request for `images` pictures that no other number's body holds.

    Bytes behind the end of a file change its hash, and not the picture.
    """
    parts: list[dict[str, Any]] = [{"type": "text", "text": "What is in the images?"}]
    for index in range(images):
        unique = data + f"{number:08d}{index:04d}".encode()
        parts.append(image_part(data_url(unique, f"image/{file_format.lower()}")))
    return json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()


async def measure(render: Render, bodies: list[bytes], images: int, seconds: float) -> dict[str, float]:
    """Renders bodies of `images` pictures, CONCURRENCY at a time, for so many seconds.

    Returns pictures a second, and milliseconds of CPU time a picture, of this process and its children. Raises
    RuntimeError if the prompts differ in length, or are shorter than their pictures.
    """
    lengths = {await render(bodies[0])}
    rendered, end = 0, 0.0

    async def client(first: int) -> None:
        nonlocal rendered
        number = first
        while time.perf_counter() < end:
            lengths.add(await render(bodies[number % len(bodies)]))
            number += CONCURRENCY
            rendered += images

    cpu_start, start = cpu_seconds(), time.perf_counter()
    end = start + seconds
    await asyncio.gather(*(client(first) for first in range(CONCURRENCY)))
    elapsed, cpu = time.perf_counter() - start, cpu_seconds() - cpu_start
    if len(lengths) != 1 or lengths.pop() < TOKENS_PER_IMAGE * images:
        raise RuntimeError("a prompt has not the length that its pictures take")
    return {"images_per_second": round(rendered / elapsed, 2), "cpu_ms_per_image": round(1e3 * cpu / rendered, 3)}


def cpu_seconds() -> float:
    """The CPU time that this process and its children have taken."""
    seconds: float = sum(sum(process.cpu_times()[:2]) for process in _processes())  # user, system
    return seconds


def _processes() -> list[psutil.Process]:
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


def peak_growth(work: Callable[[], object]) -> float:
    """Returns by how many MiB resident memory grew at its peak while `work` ran: the sum of the processes' peaks."""

    def status(pid: int, name: str) -> int:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

    # Freed memory that is still mapped would be used again unseen. The processes that decode give theirs back when
    # they have been idle for a second.
    ctypes.CDLL(None).malloc_trim(0)
    time.sleep(TRIM_SECONDS + 0.5)
    pids = [process.pid for process in _processes()]
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets VmHWM, the peak
    before = [status(pid, "VmRSS") for pid in pids]
    work()
    return sum(status(pid, "VmHWM") - rss for pid, rss in zip(pids, before, strict=True)) / 1024


async def _answer(render: Render, case: list[Any], seconds: float) -> dict[str, float]:
    """The figures of one case: a size, a format, pictures a request, and whether to measure the peak of memory."""
    size, file_format, images, with_peak = case
    data = synthetic_files.picture_file(size, file_format)
    bodies = [request_body(data, file_format, images, number) for number in range(max(CONCURRENCY, 24 // images))]
    figures = await measure(render, bodies, images, seconds)
    if with_peak:
        loop, body = asyncio.get_running_loop(), request_body(data, file_format, images, 10_000)
        # In a thread, since the loop has to go on to render.
        peak = await asyncio.to_thread(
            peak_growth, lambda: asyncio.run_coroutine_threadsafe(render(body), loop).result()
        )
        figures["peak_mib_per_request"] = round(peak, 1)
    return figures


async def _answer_all(start: Callable[[], Render], seconds: float) -> None:
    render = start()  # inside the event loop that it will run in, as in a server
    gc.collect()  # of what the imports left, which takes a second and would fall into the first case
    for case in peer_process.requests():
        peer_process.reply(await _answer(render, case, seconds))


def run(start: Callable[[Path, argparse.Namespace], Render], parser: argparse.ArgumentParser) -> None:
    """Parses the options of a front end's process, starts the front end on a checkpoint, and answers every case."""
    parser.add_argument("--seconds", type=float, default=1.0, help="to measure each case (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder))
        asyncio.run(_answer_all(lambda: start(Path(folder), arguments), arguments.seconds))
