"""Answers, streams and bodies that miss their deadline end with an error."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from llava_interleave_serve.server.admission import Load
from llava_interleave_serve.server.limits import Limits
from tests.support.app_client import CHAT, HELLO, serving
from tests.support.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio


async def test_an_answer_that_misses_the_deadline_is_a_504() -> None:
    engine = FakeEngine()
    engine.goes_on = asyncio.Event()
    async with serving(engine, limits=Limits(request_timeout=0.05)) as client:
        late = await client.post(CHAT, json=HELLO)
        assert client.server.admission.load == Load()
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")


async def test_a_stream_that_misses_the_deadline_ends_with_an_error_event() -> None:
    engine = FakeEngine()
    engine.events = engine.events[:1] * 10_000
    async with serving(engine, limits=Limits(request_timeout=0.2)) as client:
        engine.seconds_between = 0.05
        late = await client.post(CHAT, json=HELLO | {"stream": True})
        assert client.server.admission.load == Load()
    events = [line.removeprefix("data: ") for line in late.text.splitlines() if line]
    assert json.loads(events[-2])["error"]["code"] == "deadline_exceeded"
    assert events[-1] == "[DONE]"
    assert engine.streams_open == 0


async def test_a_body_that_arrives_too_slowly_is_a_408() -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with serving(limits=Limits(read_timeout=0.05)) as client:
        late = await client.post(CHAT, content=never(), headers={"Content-Type": "application/json"})
    assert (late.status_code, late.json()["error"]["code"]) == (408, "body_too_slow")
