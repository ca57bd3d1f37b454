"""A server is asked greedily, and again while it is busy; each kind of failure has its own exception."""

import email.utils
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from llava_interleave_serve.benchmarks.evaluation import client
from llava_interleave_serve.benchmarks.evaluation.client import Answer, ChatClient, Refused, Unanswered, Unreachable
from tests.support.fakes import openai_server

pytestmark = pytest.mark.anyio
MESSAGES = [{"role": "user", "content": "Which?"}]


@pytest.fixture
def fake() -> Iterator[openai_server.FakeOpenAI]:
    with openai_server.running(lambda messages: " B. a cat\n") as fake:
        yield fake


async def ask(base_url: str, slept: list[float] | None = None, attempts: int = 3) -> Answer:
    async def sleep(seconds: float) -> None:
        if slept is not None:
            slept.append(seconds)

    async with httpx.AsyncClient(base_url=base_url + "/", trust_env=False) as http:
        return await ChatClient(http, max_tokens=16, attempts=attempts, sleep=sleep).complete(MESSAGES)


async def test_the_evaluation_client_strips_an_answer_and_keeps_its_costs(fake: openai_server.FakeOpenAI) -> None:
    answer = await ask(fake.base_url)
    assert (answer.text, answer.finish_reason) == ("B. a cat", "stop")
    assert (answer.prompt_tokens, answer.completion_tokens) == (7, 10)
    assert (answer.visuals, answer.visual_tokens) == (0, 0)
    assert answer.seconds_to_first_token is not None
    assert 0 < answer.seconds_to_first_token <= answer.seconds


async def test_the_evaluation_client_asks_greedily_for_at_most_max_tokens(fake: openai_server.FakeOpenAI) -> None:
    await ask(fake.base_url)
    (body,) = fake.bodies
    assert body["messages"] == MESSAGES
    assert (body["temperature"], body["max_tokens"], body["model"]) == (0, 16, "fake")


async def test_a_busy_server_is_asked_again_at_the_time_of_retry_after(fake: openai_server.FakeOpenAI) -> None:
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    fake.refusals = [(429, {"retry-after": "7"}), (503, {"retry-after": date}), (429, {})]
    slept: list[float] = []
    assert (await ask(fake.base_url, slept, attempts=4)).text == "B. a cat"
    assert slept[0] == 7
    assert 90 < slept[1] <= 100
    assert 0 < slept[2] <= 2  # it does not say: the third wait is of 2 s at most
    assert len(fake.bodies) == 4


async def test_a_question_to_a_server_that_stays_busy_is_unanswered(fake: openai_server.FakeOpenAI) -> None:
    fake.refusals = [(503, {})] * 3
    with pytest.raises(Unanswered, match="busy after 3 tries"):
        await ask(fake.base_url, [])
    assert len(fake.bodies) == 3


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *[(status, Refused) for status in (400, 413, 422)],
        *[(status, Unanswered) for status in (408, 500, 502)],
        *[(status, Unreachable) for status in (401, 403, 404)],
    ],
)
async def test_each_error_status_raises_its_exception(
    fake: openai_server.FakeOpenAI, status: int, error: type[Exception]
) -> None:
    fake.refusals = [(status, {})]
    with pytest.raises(error, match=f"no: {status}"):
        await ask(fake.base_url)
    assert len(fake.bodies) == 1


@pytest.mark.parametrize("events", [0, 1, 5])
async def test_a_question_whose_stream_breaks_off_is_unanswered(fake: openai_server.FakeOpenAI, events: int) -> None:
    fake.cut_after = events
    with pytest.raises(Unanswered, match="cut off"):
        await ask(fake.base_url)


@pytest.mark.parametrize("words", ["data: no JSON\n\n", 'data: {"error": {"message": "the engine has died"}}\n\n'])
async def test_a_question_whose_stream_has_an_error_is_unanswered(fake: openai_server.FakeOpenAI, words: str) -> None:
    fake.last_lines = words
    with pytest.raises(Unanswered, match=r"in the stream: (no JSON|.*the engine has died)"):
        await ask(fake.base_url)


async def test_a_server_that_does_not_listen_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="does not list a model"):
        await ask("http://127.0.0.1:9/v1", [])


@pytest.mark.parametrize(("header", "seconds"), [(None, None), ("3", 3), ("0.5", 0.5), ("-1", 0), ("soon", None)])
def test_retry_after_is_read_as_seconds(header: str | None, seconds: Any) -> None:
    assert client.retry_after(header) == seconds
