"""The chat and plan routes: tokens left for an answer, detail, caches of keys, and log probabilities of prompts."""

import dataclasses
from typing import Any

import pytest

from llava_interleave_serve.server.admission import Reservation
from llava_interleave_serve.server.errors import MOST_MESSAGE, RequestError
from llava_interleave_serve.server.limits import Limits
from tests.support import scene_parts
from tests.support.app_client import CHAT, HELLO, PLAN, body, serving
from tests.support.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("asked", [{}, {"max_tokens": 10**6}, {"max_completion_tokens": 5000, "max_tokens": 1}])
async def test_a_plan_says_how_many_tokens_are_left_for_the_answer(asked: dict[str, Any]) -> None:
    async with serving() as client:
        plan = (await client.post(PLAN, json=HELLO | asked)).json()
        answer = await client.post(CHAT, json=HELLO | asked)
    assert plan["fits"]
    assert plan["max_tokens"] == plan["max_model_len"] - plan["prompt_tokens"]
    assert answer.status_code == 200


async def test_a_plan_says_how_many_tokens_the_answer_asks_for_if_they_fit() -> None:
    async with serving() as client:
        plan = (await client.post(PLAN, json=HELLO | {"max_tokens": 7})).json()
        video = {"type": "video_url", "video_url": {"url": "https://example.org/film.mp4", "num_frames": 128}}
        full = (await client.post(PLAN, json=body(video, max_tokens=7))).json()
    assert (plan["fits"], plan["max_tokens"]) == (True, 7)
    assert (full["fits"], full["max_tokens"]) == (False, 0)


@pytest.mark.parametrize(
    ("defaults", "ceiling", "fields", "most"),
    [
        ({"max_tokens": 64}, None, {}, 64), ({"max_tokens": 64}, None, {"max_tokens": 100}, 100),
        ({"max_tokens": 64}, 64, {"max_tokens": 100}, 64), ({"max_tokens": 64}, 64, {"max_tokens": 7}, 7),
        ({}, 64, {"max_completion_tokens": 100, "max_tokens": 7}, 64), ({"max_tokens": 10**6}, 10**6, {}, None),
    ],
)  # fmt: skip
async def test_a_plan_has_the_length_of_answers_that_the_checkpoint_or_the_operator_set(
    defaults: dict[str, int], ceiling: int | None, fields: dict[str, int], most: int | None
) -> None:
    engine = FakeEngine()
    engine.facts = dataclasses.replace(engine.facts, sampling_defaults=defaults, answer_ceiling=ceiling)
    async with serving(engine) as client:
        plan = (await client.post(PLAN, json=HELLO | fields)).json()
    assert plan["max_tokens"] == (most or plan["max_model_len"] - plan["prompt_tokens"])


@pytest.mark.parametrize(("low_detail", "tokens"), [("ignore", 49), ("pool", 16)])
async def test_the_answer_says_what_was_made_of_low_detail(low_detail: str, tokens: int) -> None:
    parts = [scene_parts.image_part(1, detail=detail) for detail in ("low", "high", "auto")]
    async with serving(low_detail=low_detail) as client:
        answers = [(await client.post(path, json=body(*parts))).json() for path in (CHAT, PLAN)]
    for low, *others in (answers[0]["media_usage"]["parts"], answers[1]["parts"]):
        assert (low["low_detail"], low["tokens"]) == (low_detail, tokens)
        assert not any("low_detail" in part for part in others)
        assert [part["tokens"] for part in others] == [49, 49]


async def test_keys_are_isolated_where_the_operator_says_so() -> None:
    for isolates_keys, distinct in ((True, 2), (False, 1)):
        engine = FakeEngine()
        async with serving(engine, api_keys=("A", "B"), isolates_keys=isolates_keys) as client:
            for key in "ABA":
                answer = await client.post(CHAT, json=HELLO, headers={"Authorization": f"Bearer {key}"})
                assert answer.status_code == 200
        assert len(set(engine.salts)) == distinct
        assert engine.salts[0] == engine.salts[2]


@pytest.mark.parametrize(("most", "asked", "status"), [(0, 0, 400), (1000, 1, 200), (1000, 60, 400), (10**6, 60, 200)])
async def test_log_probabilities_of_the_prompt_are_bounded_by_the_operator(most: int, asked: int, status: int) -> None:
    chat_body = body(scene_parts.image_part(1), scene_parts.text_part("?"), prompt_logprobs=asked)
    async with serving(limits=Limits(max_prompt_logprobs=most)) as client:
        answers = [await client.post(path, json=chat_body) for path in (CHAT, PLAN)]
    assert [answer.status_code for answer in answers] == [status, status]
    if status == 400:
        assert {answer.json()["error"]["param"] for answer in answers} == {"prompt_logprobs"}


async def test_log_probabilities_of_the_answer_are_bounded_by_the_operator() -> None:
    engine = FakeEngine(max_model_len=1000)
    chat_body = body(scene_parts.text_part("?"), logprobs=True, top_logprobs=9)
    async with serving(engine, limits=Limits(max_answer_logprobs=500)) as client:
        plan = (await client.post(PLAN, json=chat_body)).json()
        assert (await client.post(CHAT, json=chat_body)).status_code == 200
        refused = [await client.post(path, json=chat_body | {"max_tokens": 51}) for path in (CHAT, PLAN)]
        (_, _, sampling), *others = engine.asked
    assert plan["max_tokens"] == sampling["max_tokens"] == 50
    assert not others
    assert {(answer.status_code, answer.json()["error"]["param"]) for answer in refused} == {(400, "top_logprobs")}


@pytest.mark.parametrize(("max_tokens", "status"), [(None, 400), (3000, 400), (100, 200)])
async def test_long_beams_are_refused_and_the_memory_of_others_is_reserved(max_tokens: int | None, status: int) -> None:
    engine = FakeEngine(max_model_len=16_384)
    chat_body = body(scene_parts.image_part(1), use_beam_search=True, n=4, max_tokens=max_tokens)
    async with serving(engine, limits=Limits(max_body_bytes=2**20, max_inflight_bytes=2**20)) as client:
        answers = [await client.post(path, json=chat_body) for path in (CHAT, PLAN)]
        assert [answer.status_code for answer in answers] == [status] * 2
        if status == 400:
            assert {answer.json()["error"]["param"] for answer in answers} == {"max_tokens"}
        # 8 bytes times 4 beams, 400 tokens, and these and some 60 of the prompt: more than the server's MiB.
        refused = await client.post(CHAT, json=chat_body | {"max_tokens": 400})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "limit_exceeded")


async def test_an_answer_that_keeps_nothing_asks_for_no_room_behind_its_media(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, int]] = []
    grow = Reservation.grow

    def noted(reservation: Reservation, **more: int) -> None:
        asked.append(more)
        grow(reservation, **more)

    monkeypatch.setattr(Reservation, "grow", noted)
    async with serving() as client:
        for fields, behind_media in (({}, []), ({"logprobs": True, "max_tokens": 2}, [{"bytes": 512}])):
            asked.clear()
            answer = await client.post(CHAT, json=body(scene_parts.image_part(1), **fields))
            assert answer.status_code == 200
            (media,) = [at for at, more in enumerate(asked) if "visuals" in more]
            assert asked[media + 1 :] == behind_media


def test_no_error_is_longer_than_a_line() -> None:
    error = RequestError("x" * 10**6, param="y" * 10**6)
    assert len(error.message) == MOST_MESSAGE + 1
    assert error.param is not None
    assert len(error.param) < MOST_MESSAGE
    assert len(str(error)) == MOST_MESSAGE + 1
