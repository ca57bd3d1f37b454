"""The application over a fake engine serves its routes, with answers, streams and plans."""

import asyncio

import pytest

from llava_interleave_serve.server.errors import EngineRefusal, RequestError, Unavailable
from tests.support import scene_parts
from tests.support.app_client import CHAT, HELLO, PLAN, body, events, serving
from tests.support.fakes.engine import IMAGE_TOKEN, FakeEngine

pytestmark = pytest.mark.anyio


async def test_an_answer_has_the_media_usage() -> None:
    engine = FakeEngine()
    async with serving(engine) as client:
        chat_body = body(
            scene_parts.image_part(1), scene_parts.text_part("?"), scene_parts.image_part(2, pooling="bilinear"), seed=3
        )
        answer = await client.post(CHAT, json=chat_body)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "AB"
    usage = answer.json()["media_usage"]
    assert (usage["visuals"], usage["visual_tokens"]) == (2, 49 + 16)
    ((token_ids, visuals, sampling),) = engine.asked
    assert token_ids.count(IMAGE_TOKEN) == 2
    assert [visual.num_tokens(7) for visual in visuals] == [49, 16]
    assert sampling == {"seed": 3}


async def test_a_stream_has_the_media_usage_in_its_first_event_and_ends_with_done() -> None:
    async with serving() as client:
        answer = await client.post(CHAT, json=body(scene_parts.image_part(1), stream=True))
    first, second, *_ = events(answer)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert first["media_usage"]["visuals"] == 1
    assert "media_usage" not in second


async def test_a_stream_that_fails_at_its_first_event_gets_an_error_status() -> None:
    engine = FakeEngine()
    engine.events, engine.stream_fails = [], EngineRefusal("no such thing", param="x")
    async with serving(engine) as client:
        answer = await client.post(CHAT, json=HELLO | {"stream": True})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "no such thing"


async def test_a_stream_that_fails_later_ends_with_the_error_object_that_a_whole_answer_gets() -> None:
    engine = FakeEngine()
    engine.stream_fails = RequestError("no answer could be made", param="response_format")
    async with serving(engine) as client:
        answer = await client.post(CHAT, json=HELLO | {"stream": True})
    assert answer.status_code == 200
    assert events(answer)[-1] == {
        "error": {
            "message": "no answer could be made",
            "type": "invalid_request_error",
            "param": "response_format",
            "code": "invalid_value",
        }
    }


async def test_a_plan_fetches_no_media_and_calls_no_engine() -> None:
    engine = FakeEngine()
    nowhere = {"url": "http://192.0.2.1/x"}
    chat_body = body({"type": "image_url", "image_url": nowhere}, {"type": "video_url", "video_url": nowhere})
    async with serving(engine) as client:
        plan = (await client.post(PLAN, json=chat_body)).json()
    assert (plan["visuals"], plan["visual_tokens"], plan["exact"], plan["fits"]) == (17, 17 * 49, False, True)
    assert engine.asked == []


async def test_a_plan_has_the_exact_prompt_length() -> None:
    engine = FakeEngine()
    chat_body = body(
        scene_parts.text_part("Which image?"), scene_parts.image_part(1), scene_parts.image_part(2, pooling="bilinear")
    )
    async with serving(engine) as client:
        plan = (await client.post(PLAN, json=chat_body)).json()
        await client.post(CHAT, json=chat_body)
    token_ids, visuals, _ = engine.asked[0]
    assert plan["prompt_tokens"] == len(token_ids) - 2 + sum(visual.num_tokens(7) for visual in visuals)
    assert plan["exact"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/x", 404, "not_found"),
        ("POST", "/absent", 404, "not_found"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("DELETE", "/health", 405, "method_not_allowed"),
    ],
)
async def test_unknown_routes_and_methods_get_an_error_object_of_openai(
    method: str, path: str, status: int, code: str
) -> None:
    async with serving() as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


async def test_an_unknown_method_gets_those_that_are_served() -> None:
    async with serving() as client:
        assert (await client.put("/health")).headers["allow"] == "GET, HEAD"
        assert (await client.put(CHAT)).headers["allow"] == "POST"


async def test_the_served_model_is_listed() -> None:
    async with serving() as client:
        listed = (await client.get("/v1/models")).json()["data"]
        known = await client.get("/v1/models/fake")
        unknown = await client.get("/v1/models/other")
        with_slash = (await client.get("/v1/models/")).json()["data"]
    assert [model["id"] for model in listed] == ["fake"]
    assert known.json() == listed[0]
    assert unknown.status_code == 404
    assert with_slash == listed


async def test_a_server_with_a_dead_engine_is_healthy_but_not_ready() -> None:
    engine = FakeEngine()
    async with serving(engine) as client:
        engine.alive = False
        answers = {path: await client.get(path) for path in ("/ready", "/health")}
        chat = await client.post(CHAT, json=HELLO)
    assert [answer.status_code for answer in answers.values()] == [503, 200]
    assert chat.status_code == 503
    assert "retry-after" in chat.headers


async def test_an_engine_that_cannot_be_warmed_up_is_logged_and_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    class Engine(FakeEngine):
        async def warm_up(self) -> None:
            raise RuntimeError("no")

    async with serving(Engine()) as client:
        await asyncio.sleep(0.01)
        assert (await client.get("/ready")).status_code == 503
        assert (await client.get("/health")).status_code == 200
    assert [record.message for record in caplog.records] == ["the engine does not answer; /ready stays red"]


@pytest.mark.parametrize(
    ("fault", "status"), [(RuntimeError("/secret/path"), 500), (Unavailable("going down"), 503)], ids=["bug", "known"]
)
async def test_an_error_of_the_engine_reveals_nothing_of_the_server(fault: Exception, status: int) -> None:
    async with serving(FakeEngine(fails=fault)) as client:
        answer = await client.post(CHAT, json=HELLO)
        again = await client.get("/health")
    assert answer.status_code == status
    assert "secret" not in answer.text
    assert again.status_code == 200


async def test_the_engine_is_closed_when_the_application_ends() -> None:
    engine = FakeEngine()
    async with serving(engine):
        assert not engine.closed
    assert engine.closed


async def test_the_metrics_route_has_the_metrics_of_the_server() -> None:
    async with serving() as client:
        await client.post(CHAT, json=body(scene_parts.image_part(1)))
        await client.post(CHAT, json={})
        text = (await client.get("/metrics")).text
    for line in (
        "lis_visuals_total",
        'lis_refusals_total{code="invalid_value"}',
        'lis_phase_seconds_bucket{le="0.001",phase="decode"}',
    ):
        assert line in text
