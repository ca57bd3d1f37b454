"""The application reserves capacity for a request, and releases it after every end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llava_interleave_serve.server.admission import Load
from llava_interleave_serve.server.limits import Limits
from tests.support import scene_parts
from tests.support.app_client import CHAT, HELLO, PLAN, body, serving
from tests.support.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio
FULL = Limits(max_requests=1)


async def test_a_full_server_refuses_a_stream_before_its_media_is_fetched() -> None:
    engine = FakeEngine()
    engine.goes_on = asyncio.Event()
    nowhere = body({"type": "image_url", "image_url": {"url": "http://192.0.2.1/x"}}, stream=True)
    async with serving(engine, limits=FULL) as client:
        first = asyncio.create_task(client.post(CHAT, json=HELLO))
        await engine.was_asked.wait()
        refused = await client.post(CHAT, json=nowhere)
        engine.goes_on.set()
        assert (await first).status_code == 200
        again = await client.post(CHAT, json=HELLO)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "overloaded"
    assert again.status_code == 200


@pytest.mark.parametrize(
    ("limits", "chat", "measure"),
    [
        ({"max_inflight_visuals": 256}, body({"type": "video_url", "video_url": {"url": "x:"}}), "visuals"),
        (
            {"max_inflight_visual_tokens": 900},
            body(scene_parts.image_part(1), scene_parts.image_part(2)),
            "visual tokens",
        ),
        ({"max_body_bytes": 1000, "max_inflight_bytes": 1000}, body(scene_parts.text_part("x" * 700)), "bytes"),
    ],
    ids=["visuals", "tokens", "bytes"],
)
async def test_each_measure_of_capacity_is_enforced(limits: dict[str, Any], chat: dict[str, Any], measure: str) -> None:
    async with serving(limits=Limits(**limits)) as client:
        with client.server.admission.reserve("other", 500) as reservation:
            reservation.grow(visuals=250, visual_tokens=850)
            refused = await client.post(CHAT, json=chat)
    assert refused.status_code == 429
    assert f"its {measure} are all taken" in refused.json()["error"]["message"]


async def test_body_bytes_that_were_not_announced_are_reserved_as_they_arrive() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100

    async with serving(limits=Limits(max_body_bytes=4000, max_inflight_bytes=4000)) as client:
        with client.server.admission.reserve("other", 3000):
            refused = await client.post(CHAT, content=chunks(), headers={"Content-Type": "application/json"})
    assert refused.status_code == 429


async def test_every_end_of_a_request_releases_its_capacity() -> None:
    bodies = [HELLO, HELLO | {"stream": True}, {}, body(scene_parts.image_part(1)), HELLO | {"n": 99}]
    async with serving() as client:
        for chat in bodies:
            await client.post(CHAT, json=chat)
            await client.post(PLAN, json=chat)
        assert client.server.admission.load == Load()


async def test_api_keys_share_the_capacity() -> None:
    engine = FakeEngine()
    engine.goes_on = asyncio.Event()
    limits = Limits(max_requests=4)
    async with serving(engine, limits=limits, api_keys=("one", "other")) as client:

        async def ask(key: str) -> int:
            headers = {"Authorization": f"Bearer {key}"}
            return (await client.post(CHAT, json=HELLO, headers=headers)).status_code

        running = [asyncio.create_task(ask("other"))]
        await engine.was_asked.wait()
        running += [asyncio.create_task(ask("one")) for _ in range(3)]
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [429]
        engine.goes_on.set()
        assert sorted(await asyncio.gather(*running)) == [200, 200, 200, 429]
