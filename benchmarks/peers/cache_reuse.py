"""Measures what caches save: the time to the first token of media shown for the first time, and of the same again.

`python -m llava_interleave_serve.benchmarks.peers.cache_reuse --checkpoint FOLDER --torchvision FOLDER`

Each server gets a request with new media (cold), and then one with some of the same (warm): the images in another
order, a video with another question, the next window of a video, a second turn. This server and vLLM's own run beside
each other and get each request in turn; frames go to both as images. Prints a table of seconds to the first token, and
one JSON line last.
"""

import argparse
import asyncio
import json
import sys
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from llava_interleave_serve.benchmarks.load.client.sender import connect
from llava_interleave_serve.benchmarks.load.requests.messages import Image, Message, Text
from llava_interleave_serve.benchmarks.peers import servers
from llava_interleave_serve.benchmarks.peers.token_times import TIMEOUT, photograph, stream
from llava_interleave_serve.benchmarks.server import processes

Messages = list[Message]


class Case(NamedTuple):
    """Two requests, of which the second repeats media of the first."""

    name: str
    cold: Messages
    warm: Messages


class Seconds(NamedTuple):
    """Times to the first token of a case's requests."""

    cold: float
    warm: float


def question(images: list[Image], text: str) -> Messages:
    """One user message: the images, then the text."""
    return [Message("user", (*images, Text(text)))]


def cases(images: int, frames: int, step: int) -> Iterator[Case]:
    """Yields every case, each with media of its own.

    Args:
        images: of a request, also as frames of a video.
        frames: of a window of a video.
        step: frames by which the window moves.

    """

    def new(name: str, count: int) -> list[Image]:
        return [Image(photograph(zlib.crc32(f"{name} {index}".encode()))) for index in range(count)]

    pictures = new("order", images)
    yield Case(
        f"{images} images in another order",
        question(pictures, "What is new?"),
        question(pictures[::-1], "What is new?"),
    )
    video = new("question", images)
    yield Case(f"{images} frames, a new question", question(video, "Who comes?"), question(video, "And who leaves?"))
    video = new("window", frames + step)
    yield Case(
        f"window of {frames} frames, moved by {step}",
        question(video[:frames], "Now?"),
        question(video[step:], "Now?"),
    )
    first = question(new("turn", images), "What is there?")
    answer = Message("assistant", (Text("A house and a tree."),))
    yield Case(f"second turn about {images} images", first, [*first, answer, *question([], "What else?")])


async def ttft(server: processes.Server, messages: Messages) -> float:
    """Sends one request and returns the seconds to its first token."""
    async with connect(server.url, None, TIMEOUT) as client:
        return (await stream(client, messages, 2)).ttft


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, Seconds]]:
    """Measures every case with every server, by the case's name and the server's."""
    measured: dict[str, dict[str, Seconds]] = {}
    with servers.running_peers(arguments) as running:
        for server in running.values():
            asyncio.run(ttft(server, question([Image(photograph(0))], "What is slow the first time?")))
        for case in cases(arguments.images, arguments.frames, arguments.step):
            measured[case.name] = {}
            for name, server in running.items():
                seconds = Seconds(asyncio.run(ttft(server, case.cold)), asyncio.run(ttft(server, case.warm)))
                measured[case.name][name] = seconds
                print(f"{case.name}, {name}: {seconds}", file=sys.stderr, flush=True)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    servers.add_options(parser, ("ours", "stock"), context=16_384)
    parser.add_argument("--images", type=int, default=4, help="of a request (%(default)s)")
    parser.add_argument("--frames", type=int, default=16, help="of a window (%(default)s)")
    parser.add_argument("--step", type=int, default=4, help="frames by which it moves (%(default)s)")
    arguments = parser.parse_args()
    servers.prepare(arguments)
    measured = measure(arguments)
    print("| what is asked again | " + " | ".join(f"{name}: cold s, warm s, ratio" for name in arguments.peers) + " |")
    print("|---" * (1 + len(arguments.peers)) + "|")
    for name, by_server in measured.items():
        cells = [f"{cold:.2f}, {warm:.2f}, {warm / cold:.2f}" for cold, warm in by_server.values()]
        print(f"| {name} | {' | '.join(cells)} |")
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
