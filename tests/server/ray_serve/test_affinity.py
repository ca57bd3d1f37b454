"""Requests about one medium get one key, before Ray's proxy chooses a replica."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from llava_interleave_serve.server.ray_serve import affinity

pytestmark = pytest.mark.anyio


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the key and the body that came."""
    request = Request(scope, receive)
    body = await request.body()
    content: dict[str, Any] = {"key": request.headers.get("x-session-id"), "body": body.decode()}
    await JSONResponse(content)(scope, receive, send)


async def send(content: Any, **headers: str) -> dict[str, Any]:
    transport = httpx.ASGITransport(affinity.MediumAffinity(echo))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        response: dict[str, Any] = (await client.post("/", content=content, headers=headers)).json()
    return response


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_the_key_is_of_the_first_medium_alone() -> None:
    first = (await send(b'{"text": "Look", "url": "a", "more": {"url": "b"}}'))["key"]
    assert first.startswith("medium-")
    assert (await send(b'{"url" :\n"a"}'))["key"] == first
    assert (await send(b'{"url": "b"}'))["key"] != first


@pytest.mark.parametrize("body", [b"", b"{}", b'{"url": 5}', b"\xff\xfe"])
async def test_a_body_without_a_medium_has_no_key(body: bytes) -> None:
    assert affinity.key_of(body) is None


async def test_the_clients_own_key_is_left() -> None:
    assert (await send(b'{"url": "a"}', **{"X-Session-ID": "mine"}))["key"] == "mine"


async def test_a_body_that_comes_in_pieces_arrives_whole() -> None:
    answer = await send(chunks(b'{"ur', b'l": "a', b'b"}'))
    assert answer["body"] == '{"url": "ab"}'
    assert answer["key"] == affinity.key_of(b'{"url": "ab"}').decode()  # type: ignore[union-attr]


async def test_a_body_that_is_too_long_to_be_held_passes_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affinity, "MOST_BYTES", 10)
    parts = [b'{"a": 1, ', b'"b": "x", ', b'"url": "c"}']
    answer = await send(chunks(*parts))
    assert answer["body"] == b"".join(parts).decode()
    assert answer["key"] is None
