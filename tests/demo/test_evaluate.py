"""The demo's evaluation asks a server over HTTP and prints the shares of right answers."""

import argparse
import json
from typing import Any

import httpx
import pytest

from llava_interleave_serve.demo import evaluate
from llava_interleave_serve.demo.evaluate import Chat, Outcome

pytestmark = pytest.mark.anyio
PARTS = [{"type": "text", "text": "What is in the image?"}]


class FakeServer:
    """Gives every question the same answer, and keeps the requests' bodies."""

    def __init__(self, answer: str | None, status: int = 200) -> None:
        self.answer, self.status = answer, status
        self.bodies: list[dict[str, Any]] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/chat/completions"
        self.bodies.append(json.loads(request.content))
        return httpx.Response(self.status, json={"choices": [{"message": {"content": self.answer}}]})

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url="http://fake/v1/", transport=httpx.MockTransport(self.handle))


async def test_the_demo_evaluation_sends_a_question_as_one_greedy_user_message() -> None:
    server = FakeServer("A star.")
    async with server.client() as client:
        assert await Chat(client, "demo", 1).answer(PARTS) == "A star."
    assert server.bodies == [
        {"model": "demo", "messages": [{"role": "user", "content": PARTS}], "temperature": 0.0, "max_tokens": 40}
    ]


async def test_the_demo_evaluation_reads_an_answer_without_text_as_empty() -> None:
    async with FakeServer(None).client() as client:
        assert await Chat(client, "demo", 1).answer(PARTS) == ""


async def test_a_refusal_ends_the_demo_evaluation() -> None:
    async with FakeServer("", status=400).client() as client:
        with pytest.raises(SystemExit, match=r"with 400: .*choices"):
            await Chat(client, "demo", 1).answer(PARTS)


@pytest.mark.parametrize(
    ("family", "requests", "shares"),
    [
        ("describe", 3, {"right"}),
        ("which", 6, {"right", "permuted"}),
        ("motion", 9, {"right", "permuted", "pooled"}),
    ],
)
async def test_the_demo_evaluation_repeats_a_family_in_each_condition_that_may_change_its_answers(
    family: str, requests: int, shares: set[str]
) -> None:
    server = FakeServer("no such answer")
    async with server.client() as client:
        line = await evaluate.accuracy(Chat(client, "demo", 2), family, scenes=3, shown_errors=0)
    assert line == {"family": family, "scenes": 3} | dict.fromkeys(shares, 0.0)
    assert len(server.bodies) == requests
    pooled = [body for body in server.bodies if '"pool_stride": 2' in json.dumps(body)]
    assert len(pooled) == (3 if "pooled" in shares else 0)


def test_the_printed_share_is_of_whole_answers_and_wrong_answers_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = [Outcome("q", "There are 4.", "There are 4."), *[Outcome("q", "There are 4.", "There are 4")] * 2]
    assert evaluate.share_right("count", results, shown_errors=1) == 0.3333
    assert capsys.readouterr().out == "  count: 'q' -> 'There are 4', not 'There are 4.'\n"


async def test_an_address_without_a_server_is_named_in_a_sentence() -> None:
    arguments = argparse.Namespace(base_url="http://127.0.0.1:1/v1", api_key="none", concurrency=1)
    with pytest.raises(SystemExit, match=r"no server with an API at http://127\.0\.0\.1:1/v1/ \(--base-url\)"):
        async with evaluate.connected(arguments):
            pass
