"""Few large bodies are decoded at once, and keys take turns."""

import asyncio
import threading
from typing import Any

import pytest

from llava_interleave_serve.server import body
from llava_interleave_serve.server.limits import Limits
from tests.support import scene_parts
from tests.support.app_client import CHAT, serving
from tests.support.app_client import body as chat_body

pytestmark = pytest.mark.anyio


async def test_large_bodies_are_decoded_few_at_once_and_those_of_keys_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = body._decode
    go_on, lock = threading.Event(), threading.Lock()
    running = most = 0
    order: list[str] = []

    def counted(content: bytes, limits: Limits, validate: Any) -> Any:
        nonlocal running, most
        with lock:
            running, most = running + 1, max(most, running + 1)
            order.append("polite" if b"polite" in content else "greedy")
        go_on.wait(10)
        with lock:
            running -= 1
        return decode(content, limits, validate)

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
    assert order.index("polite") <= body.DECODING_THREADS
