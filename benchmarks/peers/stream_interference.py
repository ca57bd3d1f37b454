"""Measures what a long video does to the streams beside it: their ITL while it is prefilled, and without it.

`python -m llava_interleave_serve.benchmarks.peers.stream_interference --checkpoint FOLDER --torchvision FOLDER`

Several streams of text are decoded; then a video of 32 frames arrives, and its first token is waited for. This server
gets it as frames, once unpooled and once pooled by 2. vLLM's own server gets it as images, because it does not accept
frames or a pooling. Prints a table and one JSON line last. `first_token` describes the two folders.
"""

import argparse
import asyncio
import json
import sys
import time
from typing import Any

from llava_interleave_serve.benchmarks.load.client.sender import connect
from llava_interleave_serve.benchmarks.load.requests.messages import Frames, Message, Text
from llava_interleave_serve.benchmarks.load.results.aggregate import spread
from llava_interleave_serve.benchmarks.peers import servers
from llava_interleave_serve.benchmarks.peers.token_times import TIMEOUT, TokenTimes, photograph, stream

# The server and the pooling of each case.
CASES = {"ours": ("ours", None), "ours, pooled": ("ours", "bilinear"), "vLLM's own": ("stock", None)}
ALONE = 5.0  # seconds for which the streams are measured before the video comes
STREAM_TOKENS = 8_000  # more than are decoded before the video's first token


def video(seed: int, frames: int, pooling: str | None) -> Frames:
    """A video of unrelated frames, pooled by 2 unless `pooling` is None."""
    options = {"pooling": pooling, "pool_stride": 2} if pooling else {}
    return Frames(tuple(photograph(seed * 1000 + index) for index in range(frames)), options)


async def measure(url: str, content: Frames, number: int) -> dict[str, Any]:
    """Starts `number` streams of text and then a request about a video.

    Returns `alone` and `beside`, the spread of the streams' ITL before the video and while it is prefilled, and `ttft`
    of the video. Raises RuntimeError if a stream ends before.
    """
    async with connect(url, None, TIMEOUT) as client:
        answers = [TokenTimes() for _ in range(number)]
        prompts = [[Message("user", (Text(f"Tell story {index}."),))] for index in range(number)]
        streams = [
            asyncio.create_task(stream(client, prompt, STREAM_TOKENS, answer))
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        while not all(answer.times for answer in answers):
            if any(task.done() for task in streams):
                raise RuntimeError(f"a stream ended before its first token: {await asyncio.gather(*streams)}")
            await asyncio.sleep(0.05)
        start = time.perf_counter()
        await asyncio.sleep(ALONE)
        alone = [gap for answer in answers for gap in answer.gaps(start, time.perf_counter())]
        about_video = await stream(client, [Message("user", (content, Text("What happens?")))], 1)
        await asyncio.sleep(1.0)  # for the streams' tokens of the same step
        if any(task.done() for task in streams):
            raise RuntimeError("a stream ended before the video's first token")
        for task in streams:
            task.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
        beside = [gap for answer in answers for gap in answer.gaps(about_video.sent, about_video.times[0])]
    spreads = {"alone": spread(alone), "beside": spread(beside)}
    return {"ttft": about_video.ttft} | {name: each and each.model_dump() for name, each in spreads.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    servers.add_options(parser, ("ours", "stock"), context=32_768)
    parser.add_argument("--streams", type=int, default=4, help="beside the video (%(default)s)")
    parser.add_argument("--frames", type=int, default=32, help="of the video (%(default)s)")
    arguments = parser.parse_args()
    servers.prepare(arguments)
    measured = {}
    for name in arguments.peers:
        with servers.running_peer(name, arguments) as server:
            for seed, (case, (peer, pooling)) in enumerate(CASES.items()):
                if peer == name:
                    content = video(seed, arguments.frames, pooling)
                    measured[case] = asyncio.run(measure(server.url, content, arguments.streams))
                    print(f"{case}: {measured[case]}", file=sys.stderr, flush=True)
    print("| server | ITL alone, p50, p99 | ITL beside the video, p50, p99, longest | s to the video's first token |")
    print("|---|---|---|---|")
    for case, figures in measured.items():
        alone, beside = figures["alone"], figures["beside"]
        row = f"{alone['p50']:.3f}, {alone['p99']:.3f} | {beside['p50']:.2f}, {beside['p99']:.2f}, {beside['max']:.2f}"
        print(f"| {case} | {row} | {figures['ttft']:.1f} |")
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
