"""What the engine answers is what the OpenAPI document describes."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest

from llava_interleave_serve.server.openapi import examples
from tests.support import demo_server
from tests.support.app_client import CHAT, PLAN

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with demo_server.start(tmp_path_factory.mktemp("server")) as server:
        yield httpx.Client(base_url=server.url, timeout=120)


def check(client: httpx.Client, name: str, values: list[Any]) -> None:
    """Raises ValidationError for a value that is not of the component's schema."""
    components = client.get("/openapi.json").json()["components"]
    validator = jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components})
    for value in values:
        validator.validate(value)


@pytest.mark.parametrize(
    "options",
    [{}, {"logprobs": True, "top_logprobs": 2, "n": 2}, {"return_token_ids": True}, {"max_tokens": 1}],
    ids=["plain", "logprobs", "token ids", "cut"],
)
def test_answers_and_events_are_of_their_schemas(client: httpx.Client, options: dict[str, Any]) -> None:
    body = {**examples.REQUESTS["image"]["value"], **options}
    streamed = {**body, "stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    check(client, "ChatCompletion", [client.post(CHAT, json=body).json()])
    *events, done, end = client.post(CHAT, json=streamed).text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert len(events) > 1
    check(client, "ChatCompletionChunk", [json.loads(event.removeprefix("data: ")) for event in events])


@pytest.mark.parametrize("name", examples.REQUESTS)
def test_the_demo_answers_the_examples(client: httpx.Client, name: str) -> None:
    body = {**examples.REQUESTS[name]["value"], "stream": False}
    body.pop("stream_options", None)
    answer = client.post(CHAT, json=body)
    assert answer.status_code == 200, answer.text
    check(client, "ChatCompletion", [answer.json()])
    check(client, "Plan", [client.post(PLAN, json=body).json()])
