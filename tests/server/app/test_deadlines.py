"""Answers, streams and bodies that miss their deadline end with an error."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from llava_interleave_serve.server.admission import Load
from llava_interleave_serve.server.limits import Limits
from tests.support.app_client import CHAT, HELLO, PLAN, events, serving
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
    assert events(late)[-1]["error"]["code"] == "deadline_exceeded"
    assert engine.streams_open == 0


async def test_a_body_that_arrives_too_slowly_is_a_408() -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with serving(limits=Limits(read_timeout=0.05)) as client:
        late = await client.post(CHAT, content=never(), headers={"Content-Type": "application/json"})
    assert (late.status_code, late.json()["error"]["code"]) == (408, "body_too_slow")


@pytest.mark.parametrize("path", [CHAT, PLAN])
async def test_a_body_that_comes_byte_by_byte_is_a_408_however_large_it_is_said_to_be(path: str) -> None:
    async def bytes_one_by_one() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    headers = {"Content-Type": "application/json", "Content-Length": str(64 << 20)}
    async with serving(limits=Limits(read_timeout=0.2, min_body_rate=1000)) as client:
        late = await client.post(path, content=bytes_one_by_one(), headers=headers)
        assert client.server.admission.load == Load()
    assert (late.status_code, late.json()["error"]["code"]) == (408, "body_too_slow")
    assert "slower than 1000 bytes a second" in late.json()["error"]["message"]


async def test_a_body_may_take_longer_than_the_timeout_if_it_comes_fast_enough() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for byte in json.dumps(HELLO).encode():
            yield bytes([byte])
            await asyncio.sleep(0.005)

    async with serving(limits=Limits(read_timeout=0.2, min_body_rate=50)) as client:
        answer = await client.post(CHAT, content=pieces(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 200


async def test_a_body_on_the_plan_has_the_deadline_of_a_request() -> None:
    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with serving(limits=Limits(request_timeout=0.05)) as client:
        late = await client.post(PLAN, content=never(), headers={"Content-Type": "application/json"})
        assert client.server.admission.load == Load()
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
