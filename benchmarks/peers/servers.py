"""Starts the peers that are compared on a checkpoint of a real size: this server, vLLM's own and transformers'."""

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from llava_interleave_serve.benchmarks.model import random_checkpoint
from llava_interleave_serve.benchmarks.model.dimensions import SIZES, Size
from llava_interleave_serve.benchmarks.server import processes


def add_options(parser: argparse.ArgumentParser, peers: tuple[str, ...], context: int) -> None:
    """Adds the options that name the peers and their checkpoint; `prepare` completes what is parsed.

    Args:
        parser: of the script.
        peers: those that the script can compare, of `ours`, `stock` (vLLM's own) and `transformers`.
        context: default of --max-model-len, in tokens.

    """
    parser.add_argument("--checkpoint", type=Path, default=Path("build/0.5b"), help="made if it is not there")
    parser.add_argument("--size", choices=SIZES, default="0.5b", help="of it (%(default)s)")
    parser.add_argument(
        "--format",
        choices=random_checkpoint.FORMATS,
        default="hub",
        help="of its files, if it is made; transformers does not read the authors' original one (%(default)s)",
    )
    parser.add_argument(
        "--torchvision",
        type=Path,
        default=Path("build/peer-torchvision"),
        help="folder written by scripts/install_peer_torchvision.sh (%(default)s)",
    )
    parser.add_argument("--peers", nargs="+", default=list(peers), choices=peers)
    parser.add_argument("--max-model-len", type=int, default=context, help="of vLLM's (%(default)s)")
    parser.add_argument("--kv-cache-gib", type=int, default=3, help="of vLLM's (%(default)s)")
    parser.add_argument("--log", type=Path, help="folder for the servers' logs")


def prepare(arguments: argparse.Namespace) -> Size:
    """Makes the paths absolute, writes the checkpoint if there is none, and returns its dimensions."""
    arguments.checkpoint, arguments.torchvision = arguments.checkpoint.resolve(), arguments.torchvision.resolve()
    if not (arguments.checkpoint / "config.json").exists():
        random_checkpoint.write_named(arguments.size, arguments.format, arguments.checkpoint)
    return SIZES[arguments.size]


def command(peer: str, arguments: argparse.Namespace) -> tuple[list[str], str]:
    """A peer's command line without its port, and the route that is answered with 200 once it serves."""
    options = ["--dtype", "bfloat16", "--max-model-len", str(arguments.max_model_len)]
    checkpoint: Path = arguments.checkpoint
    match peer:
        case "ours":
            return processes.own_command(str(checkpoint), *options), "/ready"
        case "stock":
            return processes.vllm_command(checkpoint, *options, "--limit-mm-per-prompt", '{"image": 64}'), "/health"
        case _:
            return processes.transformers_command(checkpoint), "/health"


@contextlib.contextmanager
def running_peer(peer: str, arguments: argparse.Namespace) -> Iterator[processes.Server]:
    """Starts a peer and stops it in the end. Every core is its model's: vLLM would keep one for its front end."""
    command_line, route = command(peer, arguments)
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": str(arguments.kv_cache_gib),
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "HF_HUB_OFFLINE": "1",
    }
    if peer != "ours":
        paths = [str(arguments.torchvision), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    log = arguments.log and arguments.log / peer
    if log:
        log.mkdir(parents=True, exist_ok=True)
    with processes.running_server(command_line, route, log, **environment) as server:
        yield server


@contextlib.contextmanager
def running_peers(arguments: argparse.Namespace) -> Iterator[dict[str, processes.Server]]:
    """Starts all of the peers, by name. They may run beside each other: a server without a request is idle."""
    with contextlib.ExitStack() as stack:
        yield {peer: stack.enter_context(running_peer(peer, arguments)) for peer in arguments.peers}
