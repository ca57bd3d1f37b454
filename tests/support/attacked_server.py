"""The set-up of a security test: the server, a media host that may be fetched from, and one that may not.

All three listen on loopback addresses. The server runs over a fake engine; its configuration allows fetches from
`MEDIA_HOST` and from no other private address.
"""

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
from llava_interleave_serve.server.media import host_lookup
from llava_interleave_serve.server.media.access import Access
from tests.support import app_server, scene_parts
from tests.support.fakes import hostile_server
from tests.support.fakes.engine import FakeEngine
from tests.support.fakes.hostile_server import HostileServer

CHAT, PLAN = "/v1/chat/completions", "/v1/chat/completions/plan"
MEDIA_HOST, INTERNAL_HOST = "127.0.0.2", "127.0.0.1"
LIMITS = Limits(fetch_timeout=1.0, read_timeout=0.5, connect_timeout=0.5, max_media_bytes=4_000_000)
# What no error message may contain: a path, an address, a stack, an object's representation.
LEAKS = re.compile(
    r"/(work|usr|tmp|home|root|proc|etc|var)/|\d+\.\d+\.\d+\.\d+|Traceback|File \"|\.py\b| at 0x|<\w+\.\w+"
)


class ScriptedResolver:
    """A resolver whose results a test writes down; other names are resolved by the system, except `*.example`.

    Attributes:
        addresses: for each host name the lists of addresses that successive lookups return; the last one repeats.
        lookups: the host names that were looked up, in order.
    """

    def __init__(self) -> None:
        self.addresses: dict[str, list[list[str]]] = {}
        self.lookups: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.lookups.append(host)
        results = self.addresses.get(host)
        if results is None:
            if host.endswith(".example"):
                raise OSError("no such host")
            return await host_lookup.resolve(host, port)
        return results.pop(0) if len(results) > 1 else results[0]


@dataclass
class AttackedServer:
    """A running server and the two hosts around it.

    Attributes:
        server: the server under attack.
        client: an HTTP client of the server, which sends its first API key if it has keys.
        media_host: a host that the server may fetch from.
        internal_host: a host that the server must never connect to.
        resolver: the server's resolver of host names.
        allowed_folder: the folder whose files `file:` URLs may name.
    """

    server: app_server.ServedApp
    client: httpx.Client
    media_host: HostileServer
    internal_host: HostileServer
    resolver: ScriptedResolver
    allowed_folder: Path

    @property
    def engine(self) -> FakeEngine:
        return self.server.engine

    def media_url(self, path: str, host: str = MEDIA_HOST) -> str:
        """A URL at the port of the host that may be fetched from."""
        return f"http://{host}:{self.media_host.port}/{path}"

    def internal_url(self, path: str = "bytes/7", host: str = INTERNAL_HOST) -> str:
        """A URL at the port of the host that must not be connected to."""
        return f"http://{host}:{self.internal_host.port}/{path}"

    def chat(self, *content: Any, **fields: Any) -> httpx.Response:
        """Sends a chat request of one user message."""
        return self.client.post(CHAT, json=chat_body(*content, **fields))

    def refused_image(self, url: str) -> str:
        """Sends the URL as the one image of a request; asserts that it is refused and returns the message."""
        return assert_refused(self.chat(media_part("image_url", url)), param="messages[0].content[0].image_url.url")

    def token_id(self, text: str) -> int:
        """The id of a control token. Raises ValueError if the tokeniser has no such token."""
        token_id: int | None = Tokenizer.from_str(self.engine.facts.tokenizer).token_to_id(text)
        if token_id is None:
            raise ValueError(f"no token {text!r}")
        return token_id

    def send_bytes(self, data: bytes) -> bytes:
        """Sends bytes over a connection of their own; returns all that the server sends back."""
        return send_bytes(self.server.port, data)

    def assert_unharmed(self) -> None:
        """Asserts that the internal host was never connected to and that the next ordinary request is served."""
        assert self.internal_host.requested_paths == []
        before = len(self.engine.asked)
        response = self.chat(scene_parts.image_part(1), scene_parts.text_part("What is this?"))
        assert response.status_code == 200, response.text
        assert len(self.engine.asked) == before + 1


@contextlib.contextmanager
def running(allowed_folder: Path, **config: Any) -> Iterator[AttackedServer]:
    """Runs all three servers. config: fields of ServerConfig."""
    resolver, config = ScriptedResolver(), {"limits": LIMITS} | config
    headers = {"Authorization": f"Bearer {config['api_keys'][0]}"} if "api_keys" in config else {}
    access = Access(allowed_folder, frozenset({MEDIA_HOST, "outside.example"}))
    with (
        hostile_server.running(MEDIA_HOST) as media_host,
        hostile_server.running(INTERNAL_HOST) as internal_host,
        app_server.in_thread(resolver=resolver, access=access, **config) as server,
        server.client(headers=headers) as client,
    ):
        media_host.contents["picture"] = picture_bytes(1)
        yield AttackedServer(server, client, media_host, internal_host, resolver, allowed_folder)


def chat_body(*content: Any, **fields: Any) -> dict[str, Any]:
    """The body of a chat request of one user message."""
    return {"messages": [{"role": "user", "content": list(content)}], **fields}


def media_part(kind: str, url: Any = None, /, **options: Any) -> dict[str, Any]:
    """A content part of that type; `url`, if given, stands among its options."""
    return {"type": kind, kind: ({} if url is None else {"url": url}) | options}


def picture_bytes(number: int) -> bytes:
    """A PNG file, another one for each number."""
    return base64.b64decode(scene_parts.image_url(number).partition(",")[2])


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def assert_refused(response: httpx.Response, status: int = 400, param: str | None = None) -> str:
    """Asserts that the response is OpenAI's error object for `param` and leaks nothing; returns its message."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param, error
    message: str = error["message"]
    assert not LEAKS.search(message), message
    return message


def raw_request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """A request, byte for byte, after whose response the server closes the connection."""
    return "\r\n".join([line, "Host: x", *headers, "Connection: close", "", ""]).encode("latin-1") + body


def status_of(response: bytes) -> int:
    """The status of a raw response. Asserts that there is one response and no second one behind it."""
    assert response.count(b"HTTP/1.1 ") == 1, response[:2000]
    return int(response.split(b" ", 2)[1])


def send_bytes(port: int, data: bytes, timeout: float = 10.0) -> bytes:
    """Sends bytes to a port of loopback; returns what comes back until the server closes the connection.

    A request without `Connection: close` may last until the timeout, in seconds.
    """
    received = b""
    with socket.create_connection((INTERNAL_HOST, port), timeout=timeout) as connection, contextlib.suppress(OSError):
        with contextlib.suppress(OSError):
            connection.sendall(data)
        while chunk := connection.recv(1 << 16):
            received += chunk
    return received
