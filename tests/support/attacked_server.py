"""What an attack meets: our server, a hostile one that media may come from, and one inside that nobody may reach."""

import base64
import contextlib
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tokenizers import Tokenizer

from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media import fetch
from llava_interleave_serve.server.media.fetch import Access
from tests.support import app_server, scene_parts
from tests.support.fakes import hostile_server
from tests.support.fakes.engine import FakeEngine
from tests.support.fakes.hostile_server import HostileServer

CHAT, PLAN = "/v1/chat/completions", "/v1/chat/completions/plan"
OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"
LIMITS = Limits(fetch_timeout=1.0, read_timeout=0.5, connect_timeout=0.5, max_media_bytes=4_000_000)
# What may never stand in a message: a path, an address, a stack, an object's representation.
LEAKS = re.compile(
    r"/(work|usr|tmp|home|root|proc|etc|var)/|\d+\.\d+\.\d+\.\d+|Traceback|File \"|\.py\b| at 0x|<\w+\.\w+"
)


class Names:
    """A resolver. `names`: for each name its answers, one a call, the last again and again; others are looked up."""

    def __init__(self) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answers = self.names.get(host)
        if answers is None:
            if host.endswith(".example"):
                raise OSError("no such host")
            return await fetch.resolve(host, port)
        return answers.pop(0) if len(answers) > 1 else answers[0]


@dataclass
class Attacked:
    """outside: may be fetched from; inside: may not. folder: whose files may be read."""

    server: app_server.ServedApp
    client: httpx.Client
    outside: HostileServer
    inside: HostileServer
    names: Names
    folder: Path

    @property
    def engine(self) -> FakeEngine:
        return self.server.engine

    def out(self, path: str, host: str = OUTSIDE) -> str:
        return f"http://{host}:{self.outside.port}/{path}"

    def secret(self, path: str = "bytes/7", host: str = INSIDE) -> str:
        return f"http://{host}:{self.inside.port}/{path}"

    def ask(self, *content: Any, **fields: Any) -> httpx.Response:
        return self.client.post(CHAT, json=request(*content, **fields))

    def token(self, text: str) -> int:
        return Tokenizer.from_str(self.engine.facts.tokenizer).token_to_id(text)

    def raw(self, data: bytes) -> bytes:
        return raw(self.server.port, data)

    def is_unharmed(self) -> None:
        """Nobody was let in, and the next ordinary request is served."""
        assert self.inside.asked == []
        before = len(self.engine.asked)
        answer = self.ask(scene_parts.image_part(1), scene_parts.text_part("What is this?"))
        assert answer.status_code == 200, answer.text
        assert len(self.engine.asked) == before + 1


@contextlib.contextmanager
def running(folder: Path, **config: Any) -> Iterator[Attacked]:
    """All three servers, and a client that has the key if there is one."""
    names, config = Names(), {"limits": LIMITS} | config
    headers = {"Authorization": f"Bearer {config['api_keys'][0]}"} if "api_keys" in config else {}
    access = Access(folder, frozenset({OUTSIDE, "outside.example"}))
    with (
        hostile_server.running(OUTSIDE) as outside,
        hostile_server.running(INSIDE) as inside,
        app_server.in_thread(resolver=names, access=access, **config) as server,
        server.client(headers=headers) as client,
    ):
        outside.contents["picture"] = picture(1)
        yield Attacked(server, client, outside, inside, names, folder)


def request(*content: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}], **fields}


def part(kind: str, url: str | None = None, /, **options: Any) -> dict[str, Any]:
    return {"type": kind, kind: ({} if url is None else {"url": url}) | options}


def picture(number: int) -> bytes:
    return base64.b64decode(scene_parts.image_url(number).partition(",")[2])


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def refusal(answer: httpx.Response, status: int = 400, param: str | None = None) -> str:
    """The message of a refusal in OpenAI's form that names the part at fault and tells nothing of the server."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param, error
    assert not LEAKS.search(error["message"]), error["message"]
    return error["message"]


def raw(port: int, data: bytes, seconds: float = 10.0) -> bytes:
    """What the server answers to bytes on a socket until it closes it. Who sends no `Connection: close` may wait."""
    got = b""
    with socket.create_connection((INSIDE, port), timeout=seconds) as connection, contextlib.suppress(OSError):
        with contextlib.suppress(OSError):
            connection.sendall(data)
        while chunk := connection.recv(1 << 16):
            got += chunk
    return got
