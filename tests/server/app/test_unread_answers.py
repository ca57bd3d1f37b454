"""An answer that its client does not read, or leaves, holds its capacity until it has ended, and no longer."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from llava_interleave_serve.server import sse
from llava_interleave_serve.server.admission import Load
from llava_interleave_serve.server.limits import Limits
from tests.support.app_client import CHAT, HELLO, AppClient, ask_directly, serving
from tests.support.fakes.engine import ANSWER, FakeEngine

pytestmark = pytest.mark.anyio
LONG_TEXT = "a" * (3 * sse.PIECE_BYTES)


class LongAnswerEngine(FakeEngine):
    """An engine whose whole answers have LONG_TEXT."""

    async def chat(self, *args: Any) -> Any:
        answer = await super().chat(*args)
        if isinstance(answer, dict):
            answer["choices"][0]["message"]["content"] = LONG_TEXT
        return answer


async def answer_to_hello(client: AppClient) -> list[MutableMapping[str, Any]]:
    """The messages in which the application answers."""
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await ask_directly(client.app, CHAT, HELLO, send)
    return sent


async def test_a_long_answer_is_sent_in_pieces() -> None:
    async with serving(LongAnswerEngine()) as client:
        sent = await answer_to_hello(client)
    start, *pieces = sent
    whole = b"".join(piece["body"] for piece in pieces)
    assert dict(start["headers"])[b"content-length"] == str(len(whole)).encode()
    assert json.loads(whole)["choices"][0]["message"]["content"] == LONG_TEXT
    assert max(len(piece["body"]) for piece in pieces) == sse.PIECE_BYTES
    assert [piece["more_body"] for piece in pieces] == [True, True, True, False]


async def test_a_short_answer_is_one_piece() -> None:
    async with serving() as client:
        sent = await answer_to_hello(client)
    _, piece = sent
    assert json.loads(piece["body"])["choices"] == ANSWER["choices"]
    assert not piece["more_body"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_not_read_holds_its_capacity_until_the_deadline(
    monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr(sse, "GRACE", 0.1)
    has_begun = asyncio.Event()

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            has_begun.set()
            await asyncio.Event().wait()

    engine = LongAnswerEngine()
    async with serving(engine, limits=Limits(request_timeout=0.3)) as client:
        asking = asyncio.create_task(ask_directly(client.app, CHAT, HELLO | {"stream": stream}, send))
        await has_begun.wait()
        assert client.server.admission.load != Load()
        async with asyncio.timeout(5):
            await asking
        assert client.server.admission.load == Load()
    assert engine.streams_open == 0


async def test_a_client_that_leaves_before_the_first_event_is_sent_ends_the_engines_request() -> None:
    leaves = asyncio.Event()

    async def send(message: MutableMapping[str, Any]) -> None:
        leaves.set()
        await asyncio.Event().wait()

    engine = FakeEngine()
    async with serving(engine) as client:
        await ask_directly(client.app, CHAT, HELLO | {"stream": True}, send, leaves)
        assert engine.streams_open == 0
        assert client.server.admission.load == Load()
