"""The application over a fake engine: routes, errors, limits and keys."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import media
import pytest
from fake_engine import IMAGE_TOKEN, FakeEngine

from llava_interleave_serve.server import metrics
from llava_interleave_serve.server.admission import Load
from llava_interleave_serve.server.app import create_app
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.errors import Unavailable
from llava_interleave_serve.server.media.limits import Limits

pytestmark = pytest.mark.anyio
CHAT, PLAN = "/v1/chat/completions", "/v1/chat/completions/plan"


@asynccontextmanager
async def serving(engine: FakeEngine | None = None, **config: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(engine or FakeEngine(), ServerConfig(**config))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://server") as client,
    ):
        client.service = app.state.service  # for those who look inside
        yield client


def body(*content: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}], **fields}


HELLO = body(media.text_part("Hello!"))


async def test_an_answer_carries_the_account_of_its_media() -> None:
    engine = FakeEngine()
    async with serving(engine) as client:
        asked = body(media.image_part(1), media.text_part("?"), media.image_part(2, detail="low"), seed=3)
        answer = await client.post(CHAT, json=asked)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "AB"
    usage = answer.json()["media_usage"]
    assert (usage["visuals"], usage["visual_tokens"]) == (2, 49 + 16)
    ((token_ids, visuals, sampling),) = engine.asked
    assert token_ids.count(IMAGE_TOKEN) == 2
    assert [visual.num_tokens(7) for visual in visuals] == [49, 16]
    assert sampling == {"seed": 3}


async def test_a_stream_carries_the_account_in_its_first_event_and_ends_with_done() -> None:
    async with serving() as client:
        answer = await client.post(CHAT, json=body(media.image_part(1), stream=True))
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert json.loads(events[0])["media_usage"]["visuals"] == 1
    assert "media_usage" not in json.loads(events[1])
    assert events[-1] == "[DONE]"


async def test_a_stream_that_fails_at_once_is_no_200() -> None:
    engine = FakeEngine()
    engine.events = ['{"error": {"message": "no such thing", "type": "BadRequestError", "param": "x", "code": 400}}']
    async with serving(engine) as client:
        answer = await client.post(CHAT, json=HELLO | {"stream": True})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "no such thing"


async def test_a_plan_fetches_nothing_and_runs_nothing() -> None:
    engine = FakeEngine()
    nowhere = {"url": "http://192.0.2.1/x"}
    asked = body({"type": "image_url", "image_url": nowhere}, {"type": "video_url", "video_url": nowhere})
    async with serving(engine) as client:
        plan = (await client.post(PLAN, json=asked)).json()
    assert (plan["visuals"], plan["visual_tokens"], plan["exact"], plan["fits"]) == (17, 17 * 49, False, True)
    assert engine.asked == []


async def test_a_plan_tells_the_prompts_very_length() -> None:
    engine = FakeEngine()
    asked = body(media.text_part("Which image?"), media.image_part(1), media.image_part(2, detail="low"))
    async with serving(engine) as client:
        plan = (await client.post(PLAN, json=asked)).json()
        await client.post(CHAT, json=asked)
    token_ids, visuals, _ = engine.asked[0]
    assert plan["prompt_tokens"] == len(token_ids) - 2 + sum(visual.num_tokens(7) for visual in visuals)
    assert plan["exact"]


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
async def test_what_is_not_json_is_a_400(content: bytes, headers: dict[str, str]) -> None:
    async with serving() as client:
        answer = await client.post(CHAT, content=content, headers={"Content-Type": "application/json"} | headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_body_too_large_is_refused_announced_or_not() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    async with serving(limits=Limits(max_body_bytes=1000)) as client:
        announced = await client.post(CHAT, json=body(media.text_part("x" * 2000)))
        counted = await client.post(CHAT, content=chunks(), headers={"Content-Type": "application/json"})
    assert (announced.status_code, counted.status_code) == (413, 413)
    assert counted.json()["error"]["code"] == "body_too_large"


async def test_an_overflow_says_what_each_part_takes() -> None:
    async with serving(FakeEngine(max_model_len=100)) as client:
        answer = await client.post(CHAT, json=body(media.image_part(1), media.image_part(2)))
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["code"] == "context_length_exceeded"
    assert "messages[0].content[1].image_url: 49 (1 x 49)" in error["message"]


@pytest.mark.parametrize(
    ("limits", "asked", "param"),
    [
        (Limits(max_choices=2), HELLO | {"n": 3}, "n"),
        (Limits(max_messages=1), {"messages": HELLO["messages"] * 2}, "messages"),
        (Limits(max_text_parts=2), body(*[media.text_part("x")] * 3), "messages"),
        (Limits(max_media_parts=1), body(media.image_part(1), media.image_part(1)), "messages[0].content[1].image_url"),
    ],
)
async def test_a_limit_is_a_400_that_names_what_went_over(limits: Limits, asked: dict[str, Any], param: str) -> None:
    async with serving(limits=limits) as client:
        answer = await client.post(CHAT, json=asked)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_fault_in_one_of_several_parts_names_that_part() -> None:
    asked = body(media.image_part(1), media.image_part(2), {"type": "image_url", "image_url": {"url": "data:,x"}})
    async with serving() as client:
        answer = await client.post(CHAT, json=asked)
    assert answer.json()["error"]["param"] == "messages[0].content[2].image_url.url"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v2/x", 404), ("GET", CHAT, 405), ("POST", "/", 404)])
async def test_other_routes_are_refused_in_openais_form(method: str, path: str, status: int) -> None:
    async with serving() as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == "not_found"


async def test_the_model_is_listed() -> None:
    async with serving() as client:
        listed = (await client.get("/v1/models")).json()["data"]
        one = await client.get("/v1/models/fake")
        other = await client.get("/v1/models/other")
    assert [model["id"] for model in listed] == ["fake"]
    assert one.json() == listed[0]
    assert other.status_code == 404


async def test_a_dead_engine_is_not_ready_but_the_process_lives() -> None:
    engine = FakeEngine()
    async with serving(engine) as client:
        engine.alive = False
        answers = {path: await client.get(path) for path in ("/ready", "/health")}
        chat = await client.post(CHAT, json=HELLO)
    assert [answer.status_code for answer in answers.values()] == [503, 200]
    assert chat.status_code == 503
    assert "retry-after" in chat.headers


@pytest.mark.parametrize(
    ("fault", "status"), [(RuntimeError("/secret/path"), 500), (Unavailable("going down"), 503)], ids=["bug", "known"]
)
async def test_an_engines_fault_tells_nothing_of_the_server(fault: Exception, status: int) -> None:
    async with serving(FakeEngine(fails=fault)) as client:
        answer = await client.post(CHAT, json=HELLO)
        again = await client.get("/health")
    assert answer.status_code == status
    assert "secret" not in answer.text
    assert again.status_code == 200


async def test_the_engine_is_closed_in_the_end() -> None:
    engine = FakeEngine()
    async with serving(engine):
        assert not engine.closed
    assert engine.closed


class TestKeys:
    OPEN = ("/health", "/ready")
    CLOSED = (
        "/v1/models",
        "/metrics",
        "/openapi.json",
        "/docs",
        "//v1/models",
        "/V1/models",
        "/v1%2fmodels",
        "/health/",
    )

    @pytest.mark.parametrize("path", CLOSED)
    @pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", "Basic right", "right", "Bearer righ"])
    async def test_no_route_but_health_opens_without_the_key(self, path: str, header: str | None) -> None:
        headers = {"Authorization": header} if header is not None else {}
        async with serving(api_keys=("right", "other")) as client:
            answer = await client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"

    @pytest.mark.parametrize("key", ["right", "other"])
    async def test_any_of_the_keys_opens(self, key: str) -> None:
        async with serving(api_keys=("right", "other")) as client:
            answer = await client.post(CHAT, json=HELLO, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200

    async def test_a_body_is_not_read_before_the_key(self) -> None:
        async def never() -> AsyncIterator[bytes]:
            raise AssertionError("the body was read")
            yield b""

        async with serving(api_keys=("right",)) as client:
            assert (await client.post(CHAT, content=never())).status_code == 401

    @pytest.mark.parametrize("path", OPEN)
    async def test_health_needs_no_key(self, path: str) -> None:
        async with serving(api_keys=("right",)) as client:
            assert (await client.get(path)).status_code in (200, 503)


async def test_our_metrics_are_served() -> None:
    async with serving() as client:
        await client.post(CHAT, json=body(media.image_part(1)))
        await client.post(CHAT, json={})
        text = (await client.get("/metrics")).text
    for line in (
        "lis_visuals_total",
        'lis_refusals_total{code="invalid_value"}',
        'lis_phase_seconds_bucket{le="0.001",phase="decode"}',
    ):
        assert line in text


class TestRoom:
    FULL = Limits(max_requests=1)

    async def test_a_full_server_refuses_before_it_fetches_or_streams(self) -> None:
        engine = FakeEngine()
        engine.goes_on = asyncio.Event()
        nowhere = body({"type": "image_url", "image_url": {"url": "http://192.0.2.1/x"}}, stream=True)
        async with serving(engine, limits=self.FULL) as client:
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
        ("limits", "asked", "measure"),
        [
            ({"max_inflight_visuals": 256}, body({"type": "video_url", "video_url": {"url": "x:"}}), "visuals"),
            ({"max_inflight_visual_tokens": 900}, body(media.image_part(1), media.image_part(2)), "visual tokens"),
            ({"max_body_bytes": 1000, "max_inflight_bytes": 1000}, body(media.text_part("x" * 700)), "bytes"),
        ],
        ids=["visuals", "tokens", "bytes"],
    )
    async def test_every_measure_has_its_room(self, limits: dict, asked: dict[str, Any], measure: str) -> None:
        async with serving(limits=Limits(**limits)) as client:
            with client.service.admission.enter("other", 500) as place:
                place.take(visuals=250, visual_tokens=850)
                refused = await client.post(CHAT, json=asked)
        assert refused.status_code == 429
        assert f"its {measure} are all taken" in refused.json()["error"]["message"]

    async def test_bytes_that_were_not_announced_take_room_as_they_come(self) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b" " * 100

        async with serving(limits=Limits(max_body_bytes=4000, max_inflight_bytes=4000)) as client:
            with client.service.admission.enter("other", 3000):
                refused = await client.post(CHAT, content=chunks(), headers={"Content-Type": "application/json"})
        assert refused.status_code == 429

    async def test_every_end_of_a_request_frees_its_room(self) -> None:
        asked = [HELLO, HELLO | {"stream": True}, {}, body(media.image_part(1)), HELLO | {"n": 99}]
        async with serving() as client:
            for one in asked:
                await client.post(CHAT, json=one)
                await client.post(PLAN, json=one)
            assert client.service.admission.load == Load()

    async def test_keys_share_the_room(self) -> None:
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


class TestDeadline:
    async def test_an_answer_that_does_not_come_is_a_504(self) -> None:
        engine = FakeEngine()
        engine.goes_on = asyncio.Event()
        async with serving(engine, limits=Limits(request_timeout=0.05)) as client:
            late = await client.post(CHAT, json=HELLO)
            assert client.service.admission.load == Load()
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")

    async def test_a_stream_that_does_not_end_is_told_so_and_ends(self) -> None:
        engine = FakeEngine()
        engine.events = engine.events[:1] * 10_000
        async with serving(engine, limits=Limits(request_timeout=0.2)) as client:
            engine.seconds_between = 0.05
            late = await client.post(CHAT, json=HELLO | {"stream": True})
            assert client.service.admission.load == Load()
        events = [line.removeprefix("data: ") for line in late.text.splitlines() if line]
        assert json.loads(events[-2])["error"]["code"] == "deadline_exceeded"
        assert events[-1] == "[DONE]"
        assert engine.streams_open == 0

    async def test_a_body_that_does_not_come_is_a_408(self) -> None:
        async def never() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

        async with serving(limits=Limits(read_timeout=0.05)) as client:
            late = await client.post(CHAT, content=never(), headers={"Content-Type": "application/json"})
        assert (late.status_code, late.json()["error"]["code"]) == (408, "body_too_slow")


class TestPhases:
    async def test_an_answer_tells_where_its_time_went(self) -> None:
        async with serving() as client:
            answer = await client.post(CHAT, json=body(media.image_part(1)))
        names = [entry.partition(";dur=")[0] for entry in answer.headers["server-timing"].split(", ")]
        assert names == ["admission", "fetch", "decode", "preprocess", "prefill", "total"]

    @pytest.mark.parametrize("usage", [False, True])
    async def test_a_stream_tells_it_in_its_last_event(self, usage: bool) -> None:
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
            asked = HELLO | {"stream": True, "n": 2, "stream_options": {"include_usage": usage}}
            answer = await client.post(CHAT, json=asked)
        lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
        events = [json.loads(line) for line in lines[:-1]]
        assert ["server_timing" in event for event in events] == [False] * (len(events) - 1) + [True]
        assert events[-1]["server_timing"]["prefill"] == 250.0
        assert "prefill" in answer.headers["server-timing"]

    async def test_the_same_media_is_decoded_once_for_a_request(self) -> None:
        before = metrics.MEDIA_BYTES.labels("image")._value.get()
        async with serving() as client:
            await client.post(CHAT, json=body(media.image_part(1)))
            once = metrics.MEDIA_BYTES.labels("image")._value.get() - before
            await client.post(CHAT, json=body(*[media.image_part(1)] * 5))
            again = metrics.MEDIA_BYTES.labels("image")._value.get() - before - once
        assert once == again > 0
