"""Bodies are counted as they come and refused before they are decoded; few large ones are decoded at once."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llava_interleave_serve.server import body
from llava_interleave_serve.server.limits import Limits
from tests.support import scene_parts
from tests.support.app_client import CHAT, PLAN, serving
from tests.support.app_client import body as chat_body

pytestmark = pytest.mark.anyio


async def test_large_bodies_are_decoded_few_at_once_and_those_of_keys_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = body._decode
    go_on, lock = threading.Event(), threading.Lock()
    running = most = 0
    order: list[str] = []

    def counted(content: bytes, validate: Any) -> Any:
        nonlocal running, most
        with lock:
            running, most = running + 1, max(most, running + 1)
            order.append("polite" if b"polite" in content else "greedy")
        go_on.wait(10)
        with lock:
            running -= 1
        return decode(content, validate)

    monkeypatch.setattr(body, "_decode", counted)
    async with serving(api_keys=("one", "two")) as client:

        async def post(key: str, word: str) -> int:
            chat = chat_body(scene_parts.text_part(word * (body.BYTES_ON_LOOP // len(word) + 1)))
            return (await client.post(CHAT, json=chat, headers={"Authorization": f"Bearer {key}"})).status_code

        greedy = [asyncio.create_task(post("one", "greedy")) for _ in range(10)]
        await asyncio.sleep(0.2)
        polite = asyncio.create_task(post("two", "polite"))
        await asyncio.sleep(0.2)
        go_on.set()
        assert set(await asyncio.gather(*greedy, polite)) == {400}  # more text than the context holds
    assert most == body.DECODING_THREADS
    assert order.index("polite") <= body.DECODING_THREADS + 1  # a key that has waited longer goes first once


LIMITS = Limits(max_text_bytes=10_000, max_json_values=1000)
PIECE = 1000  # bytes
TOO_MUCH = {"text": b"x" * 200_000, "escapes": b"\\ud83d\\ude00" * 20_000}
AROUND = (b'{"messages": [{"role": "user", "content": "', b'"}]}')
CONTENTS = {name: inside.join(AROUND) for name, inside in TOO_MUCH.items()} | {
    "spaces": b" " * 200_000 + b"{}",
    "values": b'{"messages": [' + b"{}," * 60_000 + b"{}]}",
}


@pytest.mark.parametrize("path", [CHAT, PLAN, "/v1/completions", "/tokenize", "/detokenize"])
@pytest.mark.parametrize("name", CONTENTS)
async def test_a_body_of_too_much_text_or_too_many_values_is_refused_before_the_rest_has_come(
    path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    decoded: list[bytes] = []
    monkeypatch.setattr(body, "parse_json", decoded.append)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(CONTENTS[name]), PIECE):
            sent.append(CONTENTS[name][start : start + PIECE])
            yield sent[-1]

    async with serving(limits=LIMITS) as client:
        response = await client.post(path, content=pieces(), headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "limit_exceeded"
    assert ("JSON values" if name == "values" else "outside of its data URLs") in response.json()["error"]["message"]
    assert sum(map(len, sent)) <= LIMITS.max_text_bytes + PIECE
    assert decoded == []


async def test_a_data_url_is_no_text_however_its_body_is_cut() -> None:
    content = json.dumps(chat_body(scene_parts.image_part(1), scene_parts.text_part("What is this?"))).encode()
    url = json.dumps(scene_parts.image_url(1)).encode()
    limits = Limits(max_text_bytes=len(content) - len(url) + len(body.DATA_URL) + 1)
    for size in (1, 2, 5, 7, 64, len(content)):

        async def pieces(size: int = size) -> AsyncIterator[bytes]:
            for start in range(0, len(content), size):
                yield content[start : start + size]

        async with serving(limits=limits) as client:
            response = await client.post(CHAT, content=pieces(), headers={"Content-Type": "application/json"})
        assert response.status_code == 200, response.text


def counted(content: bytes, size: int) -> tuple[int, int]:
    """The text and the values of a body that comes in pieces of this size."""
    count = body.BodyCount(Limits())
    for start in range(0, len(content), size):
        count.add(content[start : start + size])
    return count.text, count.values


COUNTS: dict[str, tuple[bytes, int, int]] = {
    "plain": (b'{"a": [1, 2]}', 13, 3),
    "a data URL": (b'["data:image/png;base64,AAAA,[{", 1]', 12, 2),
    "two": (b'["data:,{{{","data:,{{{"]', 17, 2),
    "data is no data URL": (b'["data", "dat', 13, 2),
    "quotes": (b'"""data:,,,""dat', 13, 0),
    "values behind an escaped quote": (b'["\\"data:,\\"", {}, {}]', 20, 5),
}


@pytest.mark.parametrize("name", COUNTS)
def test_what_lies_in_data_urls_is_not_counted(name: str) -> None:
    content, text, values = COUNTS[name]
    content += b" "  # what may begin a data URL is held back until more comes
    assert {counted(content, size) for size in range(1, len(content) + 1)} == {(text + 1, values)}


def test_more_data_urls_than_there_may_be_visuals_are_text() -> None:
    url = b'"data:,,"'
    text, values = counted(url * (body.MOST_DATA_URLS + 10) + b" ", 4096)
    assert text == body.MOST_DATA_URLS * (len(url) - 2) + 10 * len(url) + 1
    assert values == 20
