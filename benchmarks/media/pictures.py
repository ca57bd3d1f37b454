"""From a request to what the engine takes: this server's rendering beside vLLM's own, on the same files, in one run.

`python -m llava_interleave_serve.benchmarks.media.pictures --torchvision FOLDER [--work FOLDER]`

`scripts/install_peer_torchvision.sh` has put a torchvision for vLLM's LLaVA class into FOLDER; films are written to the work folder by ffmpeg. Each server's front end
runs in a process of its own, on one core and on two: JSON body in, hashed and placed engine input out, four requests at
once, no cache of pictures, the servers in turns. vLLM's is its OnlineRenderer with LlavaForConditionalGeneration and
the hub's processor; ours is the renderer of `server/`, and the same last step of vLLM's. Films are sampled to 16
frames, beside OpenCV read from the first frame to the last one wanted. Prints a table, and one JSON line last.
"""

# ruff: noqa: PLC0415 - each peer's process imports what it alone needs

import argparse
import asyncio
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from llava_interleave_serve.benchmarks.media import synthetic_files
from llava_interleave_serve.benchmarks.openai_api import content_parts

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo" / "checkpoint"
AT_ONCE = 4
FRAMES = 16
ANSWER = "answer "  # before what a peer's process says; vLLM prints too
MEASURED = ("images_per_second", "cpu_ms_per_image")
TEMPLATE = ROOT / "model_executor" / "chat_template.jinja"
Render = Callable[[bytes], Awaitable[int]]


def write_checkpoint(folder: Path) -> None:
    """What a front end reads of a checkpoint of the published sizes: everything but weights."""
    config = json.loads((DEMO / "config.json").read_text()) | {"image_seq_length": 729}
    config["vision_config"] |= {"image_size": 384, "patch_size": 14, "hidden_size": 1152, "num_attention_heads": 16}
    config["text_config"] |= {"max_position_embeddings": 32768}
    preprocessor = json.loads((DEMO / "preprocessor_config.json").read_text()) | {"size": {"height": 384, "width": 384}}
    processor = {"processor_class": "LlavaProcessor", "image_token": "<image>", "patch_size": 14}
    processor |= {"num_additional_image_tokens": 0, "vision_feature_select_strategy": "full"}
    for name, content in (("config", config), ("preprocessor_config", preprocessor), ("processor_config", processor)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (folder / name).write_bytes((DEMO / name).read_bytes())


def vllm_renderer(checkpoint: Path, architecture: str) -> tuple[Any, Any]:
    """vLLM's renderer for an architecture, and its model's configuration."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.renderers import renderer_from_config

    args = AsyncEngineArgs(
        model=str(checkpoint),
        hf_overrides={"architectures": [architecture]},
        dtype="float32",
        max_model_len=32768,
        enforce_eager=True,
        skip_mm_profiling=True,
        mm_processor_cache_gb=0,
        limit_mm_per_prompt={"image": 64, "video": 0},
    )
    config = args.create_engine_config()
    return renderer_from_config(config), config.model_config


def stock(checkpoint: Path) -> Render:
    """vLLM's own way from a body to the engine's input; the result is the prompt's length."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.renderers.online_renderer import OnlineRenderer

    renderer, config = vllm_renderer(checkpoint, "LlavaForConditionalGeneration")
    online = OnlineRenderer(
        model_config=config,
        renderer=renderer,
        request_logger=None,
        chat_template=TEMPLATE.read_text(),
        chat_template_content_format="auto",
    )

    async def render(body: bytes) -> int:
        _, (prompt,) = await online.render_chat(ChatCompletionRequest.model_validate_json(body))
        return len(prompt["prompt_token_ids"])

    return render


def ours(checkpoint: Path, scales_jpegs: bool) -> Render:
    """Our way from a body to the engine's input; the result is the prompt's length."""
    from llava_interleave_serve.server.body import decoded
    from llava_interleave_serve.server.engine.vllm_engine import ModelFacts
    from llava_interleave_serve.server.limits import Limits
    from llava_interleave_serve.server.media.fetch import Access
    from llava_interleave_serve.server.media.image.squash import Squash
    from llava_interleave_serve.server.media.loader import MediaLoader
    from llava_interleave_serve.server.observability.timing import Phases
    from llava_interleave_serve.server.prompt import chat_request
    from llava_interleave_serve.server.prompt.renderer import Renderer

    renderer, _ = vllm_renderer(checkpoint, "LlavaInterleaveForConditionalGeneration")
    tokenizer = renderer.get_tokenizer()
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    facts = ModelFacts("ours", 32768, 384, 27, image_token, tokenizer.backend_tokenizer.to_str())
    limits = Limits()
    own = Renderer(facts, limits, MediaLoader(limits, Squash(384, scales_jpegs), Access()), "\n")

    async def render(body: bytes) -> int:
        request = chat_request.parse(decoded(body))
        rendered = await own.render(request, own.parts(request), Phases())
        prompt = {"prompt_token_ids": rendered.token_ids, "multi_modal_data": {"image": rendered.visuals}}
        done = await renderer.process_for_engine_async(prompt, time.time())
        return len(done["prompt_token_ids"])

    return render


def bodies(data: bytes, kind: str, images: int) -> Callable[[int], bytes]:
    """Request bodies with so many pictures that were not sent before: bytes behind a file's end tell it apart."""

    def body(number: int) -> bytes:
        parts = [content_parts.text_part("What is in the images?")]
        for at in range(images):
            unique = data + f"{number:08d}{at:04d}".encode()
            parts.append(content_parts.image_part(content_parts.data_url(unique, f"image/{kind.lower()}")))
        return json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()

    return body


def peak_growth(work: Callable[[], None]) -> float:
    """How many MiB of resident memory a piece of work takes at its peak, beyond what was there before."""

    def status(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

    ctypes.CDLL(None).malloc_trim(0)  # what was freed, and would be used again unseen, goes back first
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    work()
    return (status("VmHWM") - before) / 1024


async def measure(render: Render, make: Callable[[int], bytes], images: int, seconds: float) -> dict[str, float]:
    """Images a second, and milliseconds of CPU an image, of AT_ONCE requests at a time for so many seconds."""
    prepared = [make(number) for number in range(max(AT_ONCE, 24 // images))]
    lengths = {await render(prepared[0])}
    served, ends = 0, 0.0

    async def client(first: int) -> None:
        nonlocal served
        at = first
        while time.perf_counter() < ends:
            lengths.add(await render(prepared[at % len(prepared)]))
            at += AT_ONCE
            served += images

    cpu, started = time.process_time(), time.perf_counter()
    ends = started + seconds
    await asyncio.gather(*(client(at) for at in range(AT_ONCE)))
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    if len(lengths) != 1 or lengths.pop() < 729 * images:
        raise RuntimeError("a prompt has not the length that its pictures take")
    return {"images_per_second": round(served / took, 2), "cpu_ms_per_image": round(1e3 * cpu / served, 3)}


def picture_cases(quick: bool) -> list[tuple[str, str, int]]:
    sizes = ["1280x720"] if quick else list(synthetic_files.PICTURE_SIZES)
    return [(size, kind, images) for size in sizes for kind in synthetic_files.FORMATS for images in (1, 8)]


async def pictures(peer: str, checkpoint: Path, arguments: argparse.Namespace) -> None:
    """Answers cases, a line of JSON each, with figures of one peer; the encoded pictures are kept."""
    render = ours(checkpoint, arguments.scale_jpegs) if peer == "ours" else stock(checkpoint)
    loop, kept = asyncio.get_running_loop(), {}
    for line in sys.stdin:
        size, kind, images, with_peak = json.loads(line)
        if (size, kind) not in kept:
            kept.clear()
            kept[size, kind] = synthetic_files.encoded(
                synthetic_files.picture(*synthetic_files.PICTURE_SIZES[size], seed=0), kind
            )
        make = bodies(kept[size, kind], kind, images)
        found = await measure(render, make, images, arguments.seconds)
        if with_peak:
            peak = await loop.run_in_executor(None, peak_of, render, make(10_000), loop)
            found["peak_mib_per_request"] = round(peak, 1)
        print(ANSWER + json.dumps(found), flush=True)


def peak_of(render: Render, body: bytes, loop: asyncio.AbstractEventLoop) -> float:
    return peak_growth(lambda: asyncio.run_coroutine_threadsafe(render(body), loop).result() and None)


def opencv(data: bytes) -> np.ndarray:
    """16 frames of a film, walking through it frame by frame."""
    import cv2

    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(data)
        file.flush()
        film = cv2.VideoCapture(file.name)
        wanted = set(np.linspace(0, int(film.get(cv2.CAP_PROP_FRAME_COUNT)) - 1, FRAMES).round().astype(int).tolist())
        frames = []
        for at in range(max(wanted) + 1):
            film.grab()
            if at in wanted:
                frames.append(cv2.cvtColor(film.retrieve()[1], cv2.COLOR_BGR2RGB))
        return np.stack(frames)


def films(peer: str, work: Path) -> list[dict[str, Any]]:
    """Seconds to 16 frames of each film; ours also for another question about the film just seen."""
    from llava_interleave_serve.server.limits import Limits
    from llava_interleave_serve.server.media.image.squash import Squash
    from llava_interleave_serve.server.media.video import decode
    from llava_interleave_serve.server.media.video.worker_pool import Leash, VideoWorkers
    from llava_interleave_serve.server.observability.timing import Phases

    limits = Limits(decode_timeout=600.0)
    workers = VideoWorkers(limits.video_memory_bytes)

    def decoded(data: bytes) -> np.ndarray:
        sampling = decode.Sampling(num_frames=FRAMES)
        return decode.decode_video(data, sampling, Squash(384), limits, workers, Phases(), Leash()).frames

    lines = []
    import cv2  # noqa: F401 - not to be timed

    if peer == "ours":
        # As of a server that is up: its first process has started. Some bytes at its end make it another film.
        decoded(synthetic_files.film(work, next(iter(synthetic_files.FILMS))).read_bytes() + b"\0\0\0\x08free")
    for name in synthetic_files.FILMS:
        data = synthetic_files.film(work, name).read_bytes()
        for again in (False, True) if peer == "ours" else (False,):
            started = time.perf_counter()
            frames = (decoded if peer == "ours" else opencv)(data)
            seconds = time.perf_counter() - started
            if len(frames) != FRAMES:
                raise RuntimeError(f"{len(frames)} frames came of {name}")
            lines.append({"film": name, "again": again, "seconds": round(seconds, 3)})
    workers.close()
    return lines


class Peer:
    """A peer in a process of its own that has so many cores. Raises RuntimeError if it fails."""

    def __init__(self, name: str, what: str, cores: int, arguments: argparse.Namespace) -> None:
        torchvision = [str(arguments.torchvision)] if name == "stock" else []
        paths = [*torchvision, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "VLLM_NO_USAGE_STATS": "1"}
        command = [
            "taskset",
            "-c",
            ",".join(map(str, range(cores))),
            sys.executable,
            "-m",
            "llava_interleave_serve.benchmarks.media.pictures",
        ]
        command += ["--peer", name, "--what", what, "--seconds", str(arguments.seconds), "--work", str(arguments.work)]
        command += ["--scale-jpegs"] if arguments.scale_jpegs else []
        self._name, self._errors = name, tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the peer
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def ask(self, case: Any = None) -> Any:
        """The answer to a case; to none, what the peer prints of itself."""
        if case is not None:
            print(json.dumps(case), file=self._process.stdin, flush=True)
        for line in self._process.stdout or ():
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
        self._errors.seek(0)
        raise RuntimeError(f"{self._name} failed:\n{self._errors.read()}")

    def close(self) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        self._errors.close()


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if arguments.what != "films":
        result["pictures"] = compare_pictures(arguments)
    if arguments.what != "pictures" and not arguments.quick:
        result["films"] = compare_films(arguments)
    return result


def compare_pictures(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Both peers in turns, since a machine is not always as fast; medians of the rounds."""
    found = []
    print("| pictures | cores | ours /s | vLLM /s | ratio | CPU ms an image, ours, vLLM | peak MiB, ours, vLLM |")
    print("|---|---|---|---|---|---|---|")
    for cores in (1, 2):
        peers = [Peer(name, "pictures", cores, arguments) for name in ("ours", "stock")]
        for case in picture_cases(arguments.quick):
            rounds = [[peer.ask([*case, turn == 0]) for peer in peers] for turn in range(arguments.rounds)]
            one, other = (
                rounds[0][at] | {name: statistics.median(line[at][name] for line in rounds) for name in MEASURED}
                for at in (0, 1)
            )
            ratio = round(one["images_per_second"] / other["images_per_second"], 2)
            size, kind, images = case
            rates = f"{one['images_per_second']:.1f} | {other['images_per_second']:.1f} | {ratio}"
            cpu = f"{one['cpu_ms_per_image']:.1f}, {other['cpu_ms_per_image']:.1f}"
            peaks = f"{one['peak_mib_per_request']:.0f}, {other['peak_mib_per_request']:.0f}"
            print(f"| {images} x {size} {kind} | {cores} | {rates} | {cpu} | {peaks} |", flush=True)
            found.append({"case": case, "cores": cores, "ours": one, "stock": other, "ratio": ratio})
        for peer in peers:
            peer.close()
    return found


def compare_films(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    found = []
    for name in synthetic_files.FILMS:
        synthetic_files.film(arguments.work, name)  # written before anything is timed
    print("| film to 16 frames | cores | ours s | ours, asked again, s | OpenCV s | ratio |")
    print("|---|---|---|---|---|---|")
    for cores in (1, 2):
        answers = []
        for name in ("ours", "opencv"):
            peer = Peer(name, "films", cores, arguments)
            answers.append(peer.ask())
            peer.close()
        mine, theirs = answers
        for cold, again, other in zip(mine[::2], mine[1::2], theirs, strict=True):
            ratio = round(other["seconds"] / cold["seconds"], 1)
            times = f"{cold['seconds']:.2f} | {again['seconds']:.2f} | {other['seconds']:.2f}"
            print(f"| {cold['film']} | {cores} | {times} | {ratio} |", flush=True)
            found.append({"cores": cores, "ours": cold, "again": again, "opencv": other, "ratio": ratio})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torchvision", type=Path, default=ROOT / "build" / "peer-torchvision")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "media")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each case, a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="in which the servers take turns (%(default)s)")
    parser.add_argument("--scale-jpegs", action="store_true", help="our server's option")
    parser.add_argument("--quick", action="store_true", help="1280x720 only, and no films")
    parser.add_argument("--peer", choices=("ours", "stock", "opencv"), help=argparse.SUPPRESS)
    parser.add_argument("--what", choices=("pictures", "films"), help="one of the two alone")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.peer is None:
        print(json.dumps(compare(arguments)))
    elif arguments.what == "films":
        print(ANSWER + json.dumps(films(arguments.peer, arguments.work)), flush=True)
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(Path(folder))
            asyncio.run(pictures(arguments.peer, Path(folder), arguments))


if __name__ == "__main__":
    main()
