"""Peers on a checkpoint of a real size: this server, vLLM's own and transformers, each with every core."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from llava_interleave_serve.benchmarks.model import random_checkpoint
from llava_interleave_serve.benchmarks.server import processes


def add_options(parser: argparse.ArgumentParser, peers: tuple[str, ...], context: int) -> None:
    """Which of the peers, on what; `prepare` makes sense of them."""
    parser.add_argument("--checkpoint", type=Path, default=Path("build/0.5b"), help="made if it is not there")
    parser.add_argument("--size", choices=random_checkpoint.SIZES, default="0.5b", help="of it (%(default)s)")
    parser.add_argument("--torchvision", type=Path, default=Path("build/peer-torchvision"))
    parser.add_argument("--peers", nargs="+", default=list(peers), choices=peers)
    parser.add_argument("--max-model-len", type=int, default=context, help="of vLLM's (%(default)s)")
    parser.add_argument("--kv-cache-gib", type=int, default=3, help="of vLLM's (%(default)s)")
    parser.add_argument("--log", type=Path, help="folder for the servers' logs")


def prepare(arguments: argparse.Namespace) -> random_checkpoint.Size:
    """Writes the checkpoint if there is none, and says what size it has."""
    arguments.checkpoint, arguments.torchvision = arguments.checkpoint.resolve(), arguments.torchvision.resolve()
    size = random_checkpoint.SIZES[arguments.size]
    if not (arguments.checkpoint / "config.json").exists():
        random_checkpoint.write(size, arguments.checkpoint)
    return size


def command(peer: str, arguments: argparse.Namespace) -> tuple[list[str], str]:
    """A peer's command without its port, and the route that is 200 once it serves."""
    sizes = ["--dtype", "bfloat16", "--max-model-len", str(arguments.max_model_len)]
    checkpoint = arguments.checkpoint
    match peer:
        case "ours":
            return processes.ours(str(checkpoint), *sizes), "/ready"
        case "stock":
            return processes.stock(checkpoint, *sizes, "--limit-mm-per-prompt", '{"image": 64}'), "/health"
        case _:
            return [
                sys.executable,
                "-m",
                "llava_interleave_serve.benchmarks.peers.transformers_server",
                str(checkpoint),
            ], "/health"


@contextlib.contextmanager
def running(peer: str, arguments: argparse.Namespace) -> Iterator[processes.Server]:
    """A peer, until the block ends. vLLM would keep one core for its front end; every peer's model is to have all."""
    line, route = command(peer, arguments)
    kv_cache = str(arguments.kv_cache_gib)
    environment = {"VLLM_CPU_KVCACHE_SPACE": kv_cache, "VLLM_CPU_NUM_OF_RESERVED_CPU": "0", "HF_HUB_OFFLINE": "1"}
    if peer != "ours":
        paths = [str(arguments.torchvision), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    log = arguments.log and arguments.log / peer
    if log:
        log.mkdir(parents=True, exist_ok=True)
    with processes.running(line, route, log, **environment) as server:
        yield server


@contextlib.contextmanager
def all_running(arguments: argparse.Namespace) -> Iterator[dict[str, processes.Server]]:
    """All of the peers at once, by name; who is not asked does nothing."""
    with contextlib.ExitStack() as stack:
        yield {peer: stack.enter_context(running(peer, arguments)) for peer in arguments.peers}
