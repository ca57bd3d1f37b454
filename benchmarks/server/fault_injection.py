"""What is lost when something goes wrong under load.

`python -m llava_interleave_serve.benchmarks.server.fault_injection [--clients N]`

With the demo checkpoint: clients that vanish while they send, while their picture is fetched, while they wait and while
they read a stream; the death of a process that decodes video; a full disk wherever the server may write; and, last, the
death of the engine. Prints a table of what was seen, and one JSON line last.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from llava_interleave_serve.benchmarks.openai_api import content_parts
from llava_interleave_serve.benchmarks.server import image_host, processes
from llava_interleave_serve.demo.scenes.families import FAMILIES
from llava_interleave_serve.demo.scenes.message_parts import message_parts

CHAT = "/v1/chat/completions"
AT_ONCE = 40
SETTLING = 3.0  # seconds


def body(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    asked = content_parts.text_part("What is shown?")
    return {"messages": [{"role": "user", "content": [*parts, asked]}], "temperature": 0, "max_tokens": 16, **fields}


def image(url: str) -> dict[str, Any]:
    return content_parts.image_part(url)


def film(seed: int) -> dict[str, Any]:
    talk = FAMILIES["motion"](random.Random(seed))
    return message_parts(talk, random.Random(seed), {})[0]


async def vanish(server: processes.Server, host: image_host.PicturesHost, seed: int) -> str:
    """One client that leaves at a random point; where it left."""
    rng = random.Random(seed)
    where = rng.choice(("sending", "fetching", "waiting", "reading"))
    picture = image(f"{host.url}{image_host.SLOW if where == 'fetching' else ''}/{seed}.png")
    content = json.dumps(body(picture, stream=where == "reading", max_tokens=200, ignore_eos=True)).encode()
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content[: rng.randrange(len(content)) if where == "sending" else None])
    with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
        await writer.drain()
        if where == "reading":
            for _ in range(rng.randint(1, 8)):
                await asyncio.wait_for(reader.readuntil(b"\n\n"), 20)
        else:
            await asyncio.sleep(rng.uniform(0.0, 0.5))
    writer.transport.abort() if rng.random() < 0.5 else writer.close()
    return where


async def vanishing(server: processes.Server, host: image_host.PicturesHost, clients: int) -> dict[str, Any]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(seed: int) -> str:
        async with gate:
            return await vanish(server, host, seed)

    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        await client.post(CHAT, json=body(image(f"{host.url}/before.png")))
        before = server.resources()
        left = await asyncio.gather(*(one(seed) for seed in range(clients)))
        await asyncio.sleep(SETTLING)
        after = server.resources()
        after["running"] = server.metric("vllm:num_requests_running")
        served = (await client.post(CHAT, json=body(image(f"{host.url}/after.png")))).status_code
    return {"left": {where: left.count(where) for where in sorted(set(left))}, "before": before, "after": after,
            "next_request": served}  # fmt: skip


async def decoder_killed(server: processes.Server) -> dict[str, Any]:
    """Kills the decoding process again and again while films are asked about."""
    outcomes: dict[str, int] = {}
    killed = 0
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        for seed in range(30):
            asking = asyncio.create_task(client.post(CHAT, json=body(film(seed))))
            await asyncio.sleep(random.Random(seed).uniform(0.0, 0.05))
            for pid, command in server.children().items():
                if "video_worker" in command and seed % 2:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed += 1
            status = str((await asking).status_code)
            outcomes[status] = outcomes.get(status, 0) + 1
        served = (await client.post(CHAT, json=body(film(99)))).status_code
    return {"killed": killed, "answers": outcomes, "next_request": served}


async def engine_killed(server: processes.Server, host: image_host.PicturesHost) -> dict[str, Any]:
    """Kills the engine's process while 16 streams are read."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        ends: list[str] = []
        reading = asyncio.Event()

        async def stream(number: int) -> None:
            asked = body(image(f"{host.url}/{number}.png"), stream=True, max_tokens=2000, ignore_eos=True)
            try:
                async with client.stream("POST", CHAT, json=asked) as answer:
                    last = ""
                    async for line in answer.aiter_lines():
                        reading.set()
                        last = line if "error" in line else last
                ends.append("an error event" if last else "nothing said")
            except httpx.TransportError as error:
                ends.append(type(error).__name__)

        streams = [asyncio.create_task(stream(number)) for number in range(16)]
        await reading.wait()
        await asyncio.sleep(2.0)
        (engine,) = [pid for pid, command in server.children().items() if "EngineCore" in command]
        os.kill(engine, signal.SIGKILL)
        killed = time.monotonic()
        red: float | None = None
        while red is None:
            try:
                if (await client.get("/ready")).status_code == httpx.codes.SERVICE_UNAVAILABLE:
                    red = time.monotonic() - killed
            except httpx.TransportError:
                break
        await asyncio.gather(*streams)
        told = time.monotonic() - killed
    code = await asyncio.to_thread(server.process.wait, 60)
    return {
        "ready_red_after_s": None if red is None else round(red, 2),
        "streams_ended_after_s": round(told, 2),
        "streams": {end: ends.count(end) for end in sorted(set(ends))},
        "exit_code": code,
        "exited_after_s": round(time.monotonic() - killed, 2),
    }


@contextlib.contextmanager
def full_disk() -> Iterator[str | None]:
    """A folder on a disk of its own that is full; None where one may not be mounted."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=False)
        if mounted.returncode:
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
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        picture = image(content_parts.data_url(image_host.picture("/full"), "image/png"))
        return {
            "image": (await client.post(CHAT, json=body(picture))).status_code,
            "film": (await client.post(CHAT, json=body(film(1)))).status_code,
            "metrics": (await client.get("/metrics")).status_code,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000, help="that vanish (%(default)s)")
    arguments = parser.parse_args()
    seen: dict[str, Any] = {}
    command = processes.ours("--allowed-media-hosts", "127.0.0.1")
    with image_host.running() as host:
        with full_disk() as folder:
            if folder is not None:
                with processes.running(command, TMPDIR=folder, HOME=folder, XDG_CACHE_HOME=folder) as server:
                    seen["full disk"] = asyncio.run(on_a_full_disk(server))
        with processes.running(command) as server:
            seen["clients vanish"] = asyncio.run(vanishing(server, host, arguments.clients))
            seen["decoder killed"] = asyncio.run(decoder_killed(server))
            seen["engine killed"] = asyncio.run(engine_killed(server, host))
    print("| what happens | what is seen |\n|---|---|")
    for name, found in seen.items():
        print(f"| {name} | {'; '.join(f'{what}: {value}' for what, value in found.items())} |")
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
