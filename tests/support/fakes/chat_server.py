"""A chat server of known delays, on a socket of the running event loop: it notes when it did what.

`python tests/support/fakes/chat_server.py PORT [--slots N]` runs one to try the load test on.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Script:
    """How a request is answered: seconds to the first token and between tokens, the tokens' text, and how it ends."""

    first: float = 0.0
    gap: float = 0.0
    tokens: tuple[str, ...] = ("A", "B", "C")
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    cut_after: int | None = None  # tokens after which the connection is closed
    timing: dict[str, float] | None = None
    media_usage: dict[str, Any] | None = None


@dataclass
class Served:
    """One request as the server saw it: times of time.perf_counter."""

    body: dict[str, Any]
    received: float
    written: list[float] = field(default_factory=list)
    session: str | None = None  # its X-Session-ID


class FakeChatServer:
    """`async with FakeChatServer(...) as server`: server.url. `answer` gives the script of a request's body.

    slots: how many requests are answered at a time; the others wait. While `gate` is not set, nothing is answered.
    """

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], Script] = lambda body: Script(),
        *,
        slots: int = 1000,
        owner: str = "fake",
    ) -> None:
        self.answer, self.owner = answer, owner
        self.served: list[Served] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._arrived = asyncio.Condition()
        self._slots = asyncio.Semaphore(slots)

    async def __aenter__(self) -> "FakeChatServer":
        return await self.start(0)

    async def start(self, port: int) -> "FakeChatServer":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port, limit=1 << 26)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()

    async def received(self, number: int) -> None:
        """Returns once so many requests have come."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.served) >= number)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                if head.startswith(b"GET"):
                    card = {"id": "fake", "owned_by": self.owner, "tokens_per_visual": 49}
                    _whole(writer, 200, {}, {"data": [card]})
                elif not await self._answered(writer, json.loads(body), fields.get("x-session-id")):
                    break
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answered(self, writer: asyncio.StreamWriter, body: dict[str, Any], session: str | None) -> bool:
        """Whether the connection goes on."""
        served = Served(body, time.perf_counter(), session=session)
        self.served.append(served)
        async with self._arrived:
            self._arrived.notify_all()
        script = self.answer(body)
        if script.status != 200:
            _whole(writer, script.status, script.headers, {"error": script.error or {}})
            return True
        async with self._slots:
            await self.gate.wait()
            await asyncio.sleep(script.first)
            headers = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked", **script.headers}
            _head(writer, 200, headers)
            first: dict[str, Any] = {"choices": [{"delta": {"role": "assistant", "content": ""}}]}
            if script.media_usage is not None:
                first["media_usage"] = script.media_usage
            _event(writer, json.dumps(first))
            for index, token in enumerate(script.tokens):
                if index == script.cut_after:
                    return False
                if index:
                    await asyncio.sleep(script.gap)
                finish = "stop" if index == len(script.tokens) - 1 and script.error is None else None
                _event(writer, json.dumps({"choices": [{"delta": {"content": token}, "finish_reason": finish}]}))
                served.written.append(time.perf_counter())
            if script.error is not None:
                _event(writer, json.dumps({"error": script.error}))
            last: dict[str, Any] = {
                "choices": [],
                "usage": {"completion_tokens": len(script.tokens), "prompt_tokens": 7},
            }
            if script.timing is not None:
                last["server_timing"] = script.timing
            _event(writer, json.dumps(last))
            _event(writer, "[DONE]")
            writer.write(b"0\r\n\r\n")
        return True


def _head(writer: asyncio.StreamWriter, status: int, headers: dict[str, str]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {status} .\r\n{lines}\r\n".encode())


def _event(writer: asyncio.StreamWriter, data: str) -> None:
    event = f"data: {data}\n\n".encode()
    writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")


def _whole(writer: asyncio.StreamWriter, status: int, headers: dict[str, str], content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    _head(writer, status, {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers})
    writer.write(body)


def _like_a_server(body: dict[str, Any]) -> Script:
    """Delays that grow with the body, phases that add up to them, and now and then a refusal."""
    parts = [part for message in body["messages"] for part in message["content"] if isinstance(part, dict)]
    media = [part for part in parts if part["type"] != "text"]
    seed = hash(json.dumps(body)[-200:]) % 100
    if seed < 3:
        return Script(status=429, headers={"Retry-After": "2"}, error={"code": "overloaded"})
    visuals = sum(
        len(
            part[part["type"]].get(
                "frames", part[part["type"]].get("views", [0] * part[part["type"]].get("num_frames", 1))
            )
        )
        for part in media
    )
    encode, prefill = 0.012 * visuals, 0.01 + 0.004 * visuals
    tokens = tuple("word " for _ in range(body["max_tokens"]))
    timing = {
        "fetch": 1.0 + visuals,
        "decode": 3.0 * visuals,
        "queue": 2.0,
        "encode": encode * 1e3,
        "prefill": prefill * 1e3,
    }
    return Script(
        first=encode + prefill + 0.004 * visuals,
        gap=0.004 + seed / 1e5,
        tokens=tokens,
        headers={"Server-Timing": ", ".join(f"{name};dur={timing[name]:.1f}" for name in ("fetch", "decode"))},
        timing=timing,
        media_usage={"visual_tokens": 49 * visuals, "parts": [{"type": part["type"], "visuals": 1} for part in media]},
    )


async def _serve(port: int, slots: int) -> None:
    server = FakeChatServer(_like_a_server, slots=slots, owner="llava-interleave-serve")
    await server.start(port)
    print(server.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--slots", type=int, default=4)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.port, arguments.slots))
