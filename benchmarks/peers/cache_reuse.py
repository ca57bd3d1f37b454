"""What was seen before costs less.

`python -m llava_interleave_serve.benchmarks.peers.cache_reuse --checkpoint FOLDER --torchvision FOLDER`

Each server is asked about new media, and then about some of the same: images in another order, a video with another
question, the next window of a video, a second turn. Prints a table of seconds to the first token, cold and warm, ours
beside vLLM's own server (frames go to both as images); then one JSON line. All run at once and are asked in turns.
"""

import argparse
import asyncio
import json
import sys
import zlib
from collections.abc import Iterator
from typing import Any

from llava_interleave_serve.benchmarks.load.client.sender import connect
from llava_interleave_serve.benchmarks.load.requests.messages import Image, Message, Text
from llava_interleave_serve.benchmarks.peers import servers
from llava_interleave_serve.benchmarks.peers.token_times import TIMEOUT, photograph, stream
from llava_interleave_serve.benchmarks.server import processes

Conversation = list[Message]


def asked(images: list[Image], question: str) -> Conversation:
    return [Message("user", (*images, Text(question)))]


def pairs(arguments: argparse.Namespace) -> Iterator[tuple[str, Conversation, Conversation]]:
    """What is asked cold, and then warm; every pair with media of its own."""

    def new(name: str, count: int) -> list[Image]:
        return [Image(photograph(zlib.crc32(f"{name} {at}".encode()))) for at in range(count)]

    some = new("order", arguments.images)
    yield f"{arguments.images} images in another order", asked(some, "What is new?"), asked(some[::-1], "What is new?")
    film = new("question", arguments.images)
    yield f"{arguments.images} frames, a new question", asked(film, "Who comes?"), asked(film, "And who leaves?")
    film = new("window", arguments.frames + arguments.step)
    windows = film[: arguments.frames], film[arguments.step :]
    yield f"window of {arguments.frames} frames, moved by {arguments.step}", *(asked(one, "Now?") for one in windows)
    turn = asked(new("turn", arguments.images), "What is there?")
    answer = Message("assistant", (Text("A house and a tree."),))
    yield f"second turn about {arguments.images} images", turn, [*turn, answer, *asked([], "What else?")]


async def ttft(server: processes.Server, messages: Conversation) -> float:
    async with connect(server.url, None, TIMEOUT) as client:
        return (await stream(client, messages, 2)).ttft


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, tuple[float, float]]]:
    """Seconds to the first token by what is asked and server: cold, warm."""
    seen: dict[str, dict[str, tuple[float, float]]] = {}
    with servers.all_running(arguments) as running:
        for server in running.values():
            asyncio.run(ttft(server, asked([Image(photograph(0))], "What is slow the first time?")))
        for what, cold, warm in pairs(arguments):
            seen[what] = {}
            for name, server in running.items():
                seen[what][name] = asyncio.run(ttft(server, cold)), asyncio.run(ttft(server, warm))
                print(f"{what}, {name}: {seen[what][name]}", file=sys.stderr, flush=True)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    servers.add_options(parser, ("ours", "stock"), context=16_384)
    parser.add_argument("--images", type=int, default=4, help="of a request (%(default)s)")
    parser.add_argument("--frames", type=int, default=16, help="of a window (%(default)s)")
    parser.add_argument("--step", type=int, default=4, help="frames by which it moves (%(default)s)")
    arguments = parser.parse_args()
    servers.prepare(arguments)
    seen = measure(arguments)
    print("| what is asked again | " + " | ".join(f"{name}: cold s, warm s, ratio" for name in arguments.peers) + " |")
    print("|---" * (1 + len(arguments.peers)) + "|")
    for what, found in seen.items():
        cells: list[Any] = [f"{cold:.2f}, {warm:.2f}, {warm / cold:.2f}" for cold, warm in found.values()]
        print(f"| {what} | {' | '.join(cells)} |")
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
