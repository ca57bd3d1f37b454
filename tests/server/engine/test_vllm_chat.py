"""Answers of the demo model through vLLM: choices, limits, beams, characters of several tokens, errors of streams."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support import demo_server, scene_parts
from tests.support.app_client import CHAT, PLAN, body, events
from tests.support.demo_server import RunningServer

pytestmark = pytest.mark.engine
QUESTION = (scene_parts.image_part(1), scene_parts.text_part("What is in the image?"))
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    options = ("--max-prompt-logprobs", "2000", "--max-model-len", "512")
    with demo_server.start(tmp_path_factory.mktemp("server"), *options) as server:
        yield server


def post(server: RunningServer, *content: Any, path: str = CHAT, **fields: Any) -> httpx.Response:
    return httpx.post(server.url + path, json=body(*content, **{"temperature": 0, **fields}), timeout=120)


def answer(server: RunningServer, *content: Any, **fields: Any) -> dict[str, Any]:
    response = post(server, *content, **fields)
    assert response.status_code == 200, response.text
    decoded: dict[str, Any] = response.json()
    return decoded


def texts(decoded: dict[str, Any]) -> list[str]:
    return [choice["message"]["content"] for choice in decoded["choices"]]


def test_an_answer_leaves_out_what_it_does_not_have(server: RunningServer) -> None:
    def nulls(value: Any, path: str = "") -> list[str]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [path] if value is None else [found for name, item in items for found in nulls(item, f"{path}.{name}")]

    assert nulls(answer(server, *QUESTION, max_tokens=2, logprobs=True)) == []


def test_several_choices_at_temperature_0_are_equal(server: RunningServer) -> None:
    (alone,) = texts(answer(server, *QUESTION))
    together = answer(server, *QUESTION, n=3)
    assert texts(together) == [alone] * 3
    assert [choice["index"] for choice in together["choices"]] == [0, 1, 2]
    streamed = [""] * 3
    for event in events(post(server, *QUESTION, n=3, stream=True)):
        for choice in event["choices"]:
            streamed[choice["index"]] += choice["delta"].get("content") or ""
    assert streamed == [alone] * 3


def test_an_answer_has_what_the_prompt_leaves_of_the_context_and_the_plan_says_so(server: RunningServer) -> None:
    plan = post(server, *QUESTION, path=PLAN, max_tokens=10**6).json()
    assert plan["max_tokens"] == plan["max_model_len"] - plan["prompt_tokens"]
    full = answer(server, *QUESTION, max_tokens=10**6, ignore_eos=True, temperature=1)
    assert full["usage"]["completion_tokens"] == plan["max_tokens"]
    assert full["choices"][0]["finish_reason"] == "length"


class TestBeamSearch:
    def test_one_beam_is_the_likeliest_answer_and_sees_the_picture(self, server: RunningServer) -> None:
        # Beams go on to the end of their tokens: vLLM looks for likelier ones behind an answer that has ended.
        assert texts(answer(server, *QUESTION, use_beam_search=True, max_tokens=30)) == texts(answer(server, *QUESTION))

    def test_two_beams_are_two_answers_the_likelier_first(self, server: RunningServer) -> None:
        fields: dict[str, Any] = {"n": 2, "max_tokens": 6, "use_beam_search": True}
        beams = answer(server, *QUESTION, logprobs=True, top_logprobs=4, **fields)
        first, second = texts(beams)
        assert first != second
        entries = [choice["logprobs"]["content"] for choice in beams["choices"]]
        assert sum(entry["logprob"] for entry in entries[0]) > sum(entry["logprob"] for entry in entries[1])
        assert all(len(entry["top_logprobs"]) == 4 for entry in entries[0])
        streamed = ["", ""]
        for event in events(post(server, *QUESTION, stream=True, **fields)):
            for choice in event["choices"]:
                streamed[choice["index"]] += choice["delta"].get("content") or ""
        assert streamed == [first, second]

    @pytest.mark.parametrize("penalty", [-10, 10])
    def test_no_length_penalty_that_is_accepted_fails(self, server: RunningServer, penalty: float) -> None:
        fields: dict[str, Any] = {"use_beam_search": True, "n": 2, "max_tokens": 4, "length_penalty": penalty}
        assert len(texts(answer(server, scene_parts.text_part("x"), **fields))) == 2

    def test_more_beams_than_tokens_are_given_are_refused_by_name(self, server: RunningServer) -> None:
        response = post(server, scene_parts.text_part("x"), use_beam_search=True, n=11)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "n")


class TestCharactersOfSeveralTokens:
    EMOJI = "\U0001f600"

    @pytest.mark.parametrize("stream", [False, True])
    def test_the_bytes_of_tokens_joined_are_those_of_the_text(self, server: RunningServer, stream: bool) -> None:
        fields: dict[str, Any] = {"structured_outputs": {"choice": [self.EMOJI]}, "logprobs": True, "top_logprobs": 2}
        response = post(server, scene_parts.text_part("x"), stream=stream, **fields)
        if stream:
            choices = [choice for event in events(response) for choice in event["choices"]]
            deltas = [choice["delta"].get("content") or "" for choice in choices]
            assert not any("\ufffd" in delta for delta in deltas)
            text = "".join(deltas)
            entries = [entry for choice in choices for entry in (choice.get("logprobs") or {}).get("content", [])]
        else:
            (choice,) = response.json()["choices"]
            text, entries = choice["message"]["content"], choice["logprobs"]["content"]
        assert text == self.EMOJI
        assert b"".join(bytes(entry["bytes"]) for entry in entries) == self.EMOJI.encode()
        for entry, byte in zip(entries, self.EMOJI.encode(), strict=False):
            assert entry["top_logprobs"][0]["bytes"] == [byte]

    def test_a_stop_string_may_be_a_character_of_several_tokens(self, server: RunningServer) -> None:
        stopped = answer(server, scene_parts.text_part("x"), structured_outputs={"choice": ["caféx"]}, stop=["é"])
        assert texts(stopped) == ["caf"]
        assert stopped["choices"][0]["finish_reason"] == "stop"


class TestErrors:
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_structure_that_no_allowed_token_can_write_is_a_400(self, server: RunningServer, stream: bool) -> None:
        fields: dict[str, Any] = {"allowed_token_ids": [5], "response_format": JSON_SCHEMA, "stream": stream}
        response = post(server, scene_parts.text_part("x"), **fields)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "response_format"

    @pytest.mark.parametrize("path", [CHAT, PLAN])
    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"temperature": "hot"}, "temperature"),
            ({"top_logprobs": 99, "logprobs": True}, "top_logprobs"),
            ({"stream_options": {"include_usage": True}}, "stream_options"),
            ({"stop_token_ids": list(range(10**6, 10**6 + 300_000))}, "stop_token_ids"),
            ({"bad_words": ["/a" * 10_000, ""]}, "bad_words"),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_sampling_is_refused_by_both_routes_in_a_line(
        self, server: RunningServer, path: str, fields: dict[str, Any], param: str
    ) -> None:
        nowhere = {"type": "image_url", "image_url": {"url": "http://192.0.2.1/x"}}
        response = post(server, nowhere, path=path, **fields)
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)
        assert len(response.content) < 1_000
        assert response.elapsed.total_seconds() < 5


def test_log_probabilities_of_the_prompt_are_given_up_to_the_operators_limit(server: RunningServer) -> None:
    few = answer(server, scene_parts.text_part("x"), prompt_logprobs=1, max_tokens=1)
    assert len(few["prompt_logprobs"]) == few["usage"]["prompt_tokens"]
    refused = post(server, scene_parts.text_part("x y " * 60), prompt_logprobs=19)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt_logprobs")
