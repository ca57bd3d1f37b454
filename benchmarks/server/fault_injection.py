"""Breaks things while the server is under load, and reports what is lost.

`python -m llava_interleave_serve.benchmarks.server.fault_injection [--clients N]`

With the demo checkpoint: clients that vanish while they send, while their picture is fetched, while they wait and while
they read a stream; the death of a process that decodes video; a full disk wherever the server may write; and, last, the
death of the engine. Prints a table of what happened, and one JSON line last.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from llava_interleave_serve.benchmarks.openai_api import content_parts, sse
from llava_interleave_serve.benchmarks.server import image_host, processes
from llava_interleave_serve.demo.scenes.families import FAMILIES
from llava_interleave_serve.demo.scenes.message_parts import message_parts
from llava_interleave_serve.server.media.decoding import worker

CHAT = "/v1/chat/completions"
CONCURRENCY = 40  # clients that vanish at a time
SETTLING = 3.0  # seconds
TIMEOUT = 60.0  # seconds for a request


def body(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The body of a chat request: the parts and a question, answered with 16 tokens unless the fields say otherwise."""
    question = content_parts.text_part("What is shown?")
    return {"messages": [{"role": "user", "content": [*parts, question]}], "temperature": 0, "max_tokens": 16, **fields}


def image(url: str) -> dict[str, Any]:
    """An image part."""
    return content_parts.image_part(url)


def video(seed: int) -> dict[str, Any]:
    """A video part of its own for each seed."""
    conversation = FAMILIES["motion"](random.Random(seed))
    return message_parts(conversation, random.Random(seed), {})[0]


async def vanish(server: processes.Server, host: image_host.ImageHost, seed: int) -> str:
    """Sends one request and disconnects at a random point. Returns the phase in which the client left."""
    rng = random.Random(seed)
    phase = rng.choice(("sending", "fetching", "waiting", "reading"))
    picture = image(f"{host.url}{image_host.SLOW if phase == 'fetching' else ''}/{seed}.png")
    content = json.dumps(body(picture, stream=phase == "reading", max_tokens=200, ignore_eos=True)).encode()
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content[: rng.randrange(len(content)) if phase == "sending" else None])
    with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
        await writer.drain()
        if phase == "reading":
            for _ in range(rng.randint(1, 8)):
                await asyncio.wait_for(reader.readuntil(b"\n\n"), 20)
        else:
            await asyncio.sleep(rng.uniform(0.0, 0.5))
    writer.transport.abort() if rng.random() < 0.5 else writer.close()
    return phase


async def clients_vanish(server: processes.Server, host: image_host.ImageHost, clients: int) -> dict[str, Any]:
    """Lets so many clients vanish, and reports the server's resources before and after."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def vanish_in_turn(seed: int) -> str:
        async with gate:
            return await vanish(server, host, seed)

    async with httpx.AsyncClient(base_url=server.url, timeout=TIMEOUT) as client:
        await client.post(CHAT, json=body(image(f"{host.url}/before.png")))
        before = server.resources()
        phases = Counter(await asyncio.gather(*(vanish_in_turn(seed) for seed in range(clients))))
        await asyncio.sleep(SETTLING)
        after = server.resources()
        after["running"] = server.metric("vllm:num_requests_running")
        status = (await client.post(CHAT, json=body(image(f"{host.url}/after.png")))).status_code
    return {"left": dict(sorted(phases.items())), "before": before, "after": after, "next_request": status}


async def decoder_killed(server: processes.Server) -> dict[str, Any]:
    """Kills the processes that decode media again and again during requests about videos."""
    statuses: Counter[str] = Counter()
    killed = 0
    async with httpx.AsyncClient(base_url=server.url, timeout=TIMEOUT) as client:
        for seed in range(30):
            response = asyncio.create_task(client.post(CHAT, json=body(video(seed))))
            await asyncio.sleep(random.Random(seed).uniform(0.0, 0.05))
            for pid, command in server.children().items():
                if worker.PROCESS_MODULE in command and seed % 2:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed += 1
            statuses[str((await response).status_code)] += 1
        status = (await client.post(CHAT, json=body(video(99)))).status_code
    return {"killed": killed, "answers": dict(statuses), "next_request": status}


async def stream_to_the_end(client: httpx.AsyncClient, url: str, is_reading: asyncio.Event) -> str:
    """Reads a long answer and returns how it ended. Sets the event once something has been read."""
    request = body(image(url), stream=True, max_tokens=2000, ignore_eos=True)
    has_error = False
    try:
        async with client.stream("POST", CHAT, json=request) as response:
            async for event in sse.live_events(response.aiter_bytes()):
                is_reading.set()
                has_error = has_error or (event.data != sse.DONE and sse.has_error(event.data))
    except httpx.TransportError as error:
        return type(error).__name__
    return "an error event" if has_error else "no error event"


async def seconds_to_unready(client: httpx.AsyncClient, start: float) -> float | None:
    """Seconds from `start` until `/ready` is answered with 503; None if the server is gone before."""
    while True:
        try:
            if (await client.get("/ready")).status_code == httpx.codes.SERVICE_UNAVAILABLE:
                return round(time.monotonic() - start, 2)
        except httpx.TransportError:
            return None


async def engine_killed(server: processes.Server, host: image_host.ImageHost) -> dict[str, Any]:
    """Kills the engine's process while 16 streams are read."""
    async with httpx.AsyncClient(base_url=server.url, timeout=TIMEOUT) as client:
        is_reading = asyncio.Event()
        urls = [f"{host.url}/{number}.png" for number in range(16)]
        streams = [asyncio.create_task(stream_to_the_end(client, url, is_reading)) for url in urls]
        await is_reading.wait()
        await asyncio.sleep(2.0)
        (engine,) = [pid for pid, command in server.children().items() if "EngineCore" in command]
        os.kill(engine, signal.SIGKILL)
        killed = time.monotonic()
        unready = await seconds_to_unready(client, killed)
        ends = Counter(await asyncio.gather(*streams))
        ended = time.monotonic() - killed
    code = await asyncio.to_thread(server.process.wait, 60)
    return {
        "ready_red_after_s": unready,
        "streams_ended_after_s": round(ended, 2),
        "streams": dict(sorted(ends.items())),
        "exit_code": code,
        "exited_after_s": round(time.monotonic() - killed, 2),
    }


@contextlib.contextmanager
def full_disk() -> Iterator[str | None]:
    """Yields a folder on a mounted disk that is full; None where this user may not mount one."""
    with tempfile.TemporaryDirectory() as folder:
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=False)
        if mount.returncode:
            yield None
            return
        try:
            with contextlib.suppress(OSError), Path(folder, "filling").open("wb", buffering=0) as file:
                while True:
                    file.write(b"\0" * 4096)
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", folder], check=False)


async def on_a_full_disk(server: processes.Server) -> dict[str, Any]:
    """The statuses of an image, a video and the metrics."""
    async with httpx.AsyncClient(base_url=server.url, timeout=TIMEOUT) as client:
        picture = image(content_parts.data_url(image_host.picture("/full"), "image/png"))
        return {
            "image": (await client.post(CHAT, json=body(picture))).status_code,
            "video": (await client.post(CHAT, json=body(video(1)))).status_code,
            "metrics": (await client.get("/metrics")).status_code,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000, help="that vanish (%(default)s)")
    arguments = parser.parse_args()
    reports: dict[str, dict[str, Any]] = {}
    command = processes.own_command("--allowed-media-hosts", "127.0.0.1")
    with image_host.running_host() as host:
        with full_disk() as folder:
            if folder is not None:
                with processes.running_server(command, TMPDIR=folder, HOME=folder, XDG_CACHE_HOME=folder) as server:
                    reports["full disk"] = asyncio.run(on_a_full_disk(server))
        with processes.running_server(command) as server:
            reports["clients vanish"] = asyncio.run(clients_vanish(server, host, arguments.clients))
            reports["decoder killed"] = asyncio.run(decoder_killed(server))
            reports["engine killed"] = asyncio.run(engine_killed(server, host))
    print("| what happens | what is seen |\n|---|---|")
    for name, report in reports.items():
        print(f"| {name} | {'; '.join(f'{what}: {value}' for what, value in report.items())} |")
    print(json.dumps(reports))


if __name__ == "__main__":
    main()
