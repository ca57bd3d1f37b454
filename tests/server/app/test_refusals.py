"""The application refuses bodies that are no JSON, exceed a limit or have a fault, and names the field."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llava_interleave_serve.server.limits import Limits
from tests.support import scene_parts
from tests.support.app_client import CHAT, HELLO, body, serving
from tests.support.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"{", {}),
        (b"\xff\xfe", {}),
        (b'{"messages": [], "temperature": NaN}', {}),
        (b"[" * 100_000, {}),
        (b"", {}),
        (json.dumps(HELLO).encode(), {"Content-Type": "text/plain"}),
    ],
)
async def test_a_body_that_is_not_json_is_a_400(content: bytes, headers: dict[str, str]) -> None:
    async with serving() as client:
        answer = await client.post(CHAT, content=content, headers={"Content-Type": "application/json"} | headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "gzip, identity", "x" * 1000])
async def test_a_compressed_body_is_a_415_that_says_so(encoding: str) -> None:
    async with serving() as client:
        answer = await client.post(CHAT, json=HELLO, headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_content_encoding")
    assert "Content-Encoding" in answer.json()["error"]["message"]
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_a_body_whose_encoding_is_none_is_read(encoding: str) -> None:
    async with serving() as client:
        answer = await client.post(CHAT, json=HELLO, headers={"Content-Encoding": encoding})
    assert answer.status_code == 200


async def test_a_byte_order_mark_before_the_json_is_skipped() -> None:
    mark, headers = b"\xef\xbb\xbf", {"Content-Type": "application/json"}
    async with serving() as client:
        one = await client.post(CHAT, content=mark + json.dumps(HELLO).encode(), headers=headers)
        two = await client.post(CHAT, content=mark * 2 + json.dumps(HELLO).encode(), headers=headers)
    assert (one.status_code, two.status_code) == (200, 400)


async def test_a_body_too_large_is_refused_whether_its_length_is_announced_or_not() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    async with serving(limits=Limits(max_body_bytes=1000)) as client:
        announced = await client.post(CHAT, json=body(scene_parts.text_part("x" * 2000)))
        counted = await client.post(CHAT, content=chunks(), headers={"Content-Type": "application/json"})
    assert (announced.status_code, counted.status_code) == (413, 413)
    assert counted.json()["error"]["code"] == "body_too_large"


async def test_a_prompt_beyond_the_context_is_refused_with_the_tokens_of_each_part() -> None:
    async with serving(FakeEngine(max_model_len=100)) as client:
        answer = await client.post(CHAT, json=body(scene_parts.image_part(1), scene_parts.image_part(2)))
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["code"] == "context_length_exceeded"
    assert "messages[0].content[1].image_url: 49 (1 x 49)" in error["message"]


@pytest.mark.parametrize(
    ("limits", "chat_body", "param"),
    [
        (Limits(max_choices=2), HELLO | {"n": 3}, "n"),
        (Limits(max_messages=1), {"messages": HELLO["messages"] * 2}, "messages"),
        (Limits(max_text_parts=2), body(*[scene_parts.text_part("x")] * 3), "messages"),
        (
            Limits(max_media_parts=1),
            body(scene_parts.image_part(1), scene_parts.image_part(1)),
            "messages[0].content[1].image_url",
        ),
    ],
)
async def test_a_request_over_a_limit_is_a_400_that_names_the_field(
    limits: Limits, chat_body: dict[str, Any], param: str
) -> None:
    async with serving(limits=limits) as client:
        answer = await client.post(CHAT, json=chat_body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_faulty_part_among_several_is_named() -> None:
    chat_body = body(
        scene_parts.image_part(1), scene_parts.image_part(2), {"type": "image_url", "image_url": {"url": "data:,x"}}
    )
    async with serving() as client:
        answer = await client.post(CHAT, json=chat_body)
    assert answer.json()["error"]["param"] == "messages[0].content[2].image_url.url"
