"""Answers and streams of the application have the durations of the request's phases."""

import pytest

from llava_interleave_serve.server.observability import metrics
from tests.support import scene_parts
from tests.support.app_client import CHAT, HELLO, body, events, serving
from tests.support.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio


async def test_an_answer_has_a_server_timing_header_with_its_phases() -> None:
    async with serving() as client:
        answer = await client.post(CHAT, json=body(scene_parts.image_part(1)))
    names = [entry.partition(";dur=")[0] for entry in answer.headers["server-timing"].split(", ")]
    assert names == ["admission", "fetch", "decode", "preprocess", "prefill", "total"]


@pytest.mark.parametrize("usage", [False, True])
async def test_the_last_event_of_a_stream_has_the_server_timing(usage: bool) -> None:
    engine = FakeEngine()
    ended = '{"choices":[{"index":%d,"delta":{},"finish_reason":"stop"}]}'
    engine.events = [
        '{"choices":[{"index":0,"delta":{"content":"\\"finish_reason\\":\\"x"}}]}',
        ended % 0,
        ended % 1,
    ]
    if usage:
        engine.events.append('{"choices":[],"usage":{"total_tokens":3}}')
    async with serving(engine) as client:
        chat_body = HELLO | {"stream": True, "n": 2, "stream_options": {"include_usage": usage}}
        answer = await client.post(CHAT, json=chat_body)
    *before, last = events(answer)
    assert not any("server_timing" in event for event in before)
    assert last["server_timing"]["prefill"] == 250.0
    assert "prefill" in answer.headers["server-timing"]


async def test_equal_images_of_a_request_are_decoded_once() -> None:
    before = metrics.MEDIA_BYTES.labels("image")._value.get()
    async with serving() as client:
        await client.post(CHAT, json=body(scene_parts.image_part(1)))
        once = metrics.MEDIA_BYTES.labels("image")._value.get() - before
        await client.post(CHAT, json=body(*[scene_parts.image_part(1)] * 5))
        again = metrics.MEDIA_BYTES.labels("image")._value.get() - before - once
    assert once == again > 0
