"""What videos do to the streams beside them.

`python -m llava_interleave_serve.benchmarks.peers.stream_interference --checkpoint FOLDER --torchvision FOLDER`

So many streams of text are decoded; then a video of 32 frames arrives, and its first token is waited for. Our server
gets it as frames, once unpooled and once pooled by 2; vLLM's own as images, for it knows neither. Prints a table: how
long the streams' tokens took while the video was prefilled, beside the same streams alone; then one JSON line. peers.py
says what the two options are.
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
from llava_interleave_serve.benchmarks.peers.token_times import TIMEOUT, Streamed, photograph, stream

CASES = {"ours": ("ours", None), "ours, pooled": ("ours", "bilinear"), "vLLM's own": ("stock", None)}
ALONE = 5.0  # seconds in which the streams are looked at before the video comes
ENOUGH = 8_000  # tokens; the streams are still running when the video's token has come


def video(seed: int, frames: int, pooling: str | None) -> Frames:
    options = {"pooling": pooling, "pool_stride": 2} if pooling else {}
    return Frames(tuple(photograph(seed * 1000 + at) for at in range(frames)), options)


async def beside(url: str, content: Frames, arguments: argparse.Namespace) -> dict[str, Any]:
    """The gaps of the streams, alone and while the video is prefilled, and the seconds to the video's first token."""
    async with connect(url, None, TIMEOUT) as client:
        streams = [Streamed() for _ in range(arguments.streams)]
        prompts = [[Message("user", (Text(f"Tell story {number}."),))] for number in range(arguments.streams)]
        running = [
            asyncio.create_task(stream(client, prompt, ENOUGH, each))
            for prompt, each in zip(prompts, streams, strict=True)
        ]
        while not all(each.times for each in streams):
            if any(task.done() for task in running):
                raise RuntimeError(f"a stream ended before its first token: {await asyncio.gather(*running)}")
            await asyncio.sleep(0.05)
        begun = time.perf_counter()
        await asyncio.sleep(ALONE)
        alone = [gap for each in streams for gap in each.gaps(begun, time.perf_counter())]
        answer = await stream(client, [Message("user", (content, Text("What happens?")))], 1)
        await asyncio.sleep(1.0)  # the streams' token of the same step
        if any(task.done() for task in running):
            raise RuntimeError("a stream ended before the video's first token")
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        gaps = [gap for each in streams for gap in each.gaps(answer.sent, answer.times[0])]
    spreads = {"alone": spread(alone), "beside": spread(gaps)}
    return {"ttft": answer.ttft} | {name: found and found.model_dump() for name, found in spreads.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    servers.add_options(parser, ("ours", "stock"), context=32_768)
    parser.add_argument("--streams", type=int, default=4, help="beside the video (%(default)s)")
    parser.add_argument("--frames", type=int, default=32, help="of the video (%(default)s)")
    arguments = parser.parse_args()
    servers.prepare(arguments)
    seen = {}
    for name in arguments.peers:
        with servers.running(name, arguments) as server:
            for seed, (case, (peer, pooling)) in enumerate(CASES.items()):
                if peer == name:
                    content = video(seed, arguments.frames, pooling)
                    seen[case] = asyncio.run(beside(server.url, content, arguments))
                    print(f"{case}: {seen[case]}", file=sys.stderr, flush=True)
    print("| server | ITL alone, p50, p99 | ITL beside the video, p50, p99, longest | s to the video's first token |")
    print("|---|---|---|---|")
    for case, found in seen.items():
        alone, near = found["alone"], found["beside"]
        row = f"{alone['p50']:.3f}, {alone['p99']:.3f} | {near['p50']:.2f}, {near['p99']:.2f}, {near['max']:.2f}"
        print(f"| {case} | {row} | {found['ttft']:.1f} |")
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
