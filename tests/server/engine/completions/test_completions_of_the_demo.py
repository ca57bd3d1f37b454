"""Completions of the demo model through vLLM: whole and streamed, several, echoed, with log probabilities."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.support import demo_server, scene_parts
from tests.support.app_client import CHAT, body, events
from tests.support.demo_server import RunningServer

pytestmark = pytest.mark.engine
COMPLETIONS, MODEL = "/v1/completions", "llava-interleave-demo"
PROMPT = "Which image"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with demo_server.start(tmp_path_factory.mktemp("server"), "--max-prompt-logprobs", "200") as server:
        yield server


def post(server: RunningServer, prompt: Any = PROMPT, **fields: Any) -> httpx.Response:
    asked = {"prompt": prompt, "temperature": 0, "max_tokens": 6} | fields
    return httpx.post(server.url + COMPLETIONS, json=asked, timeout=120)


def complete(server: RunningServer, prompt: Any = PROMPT, **fields: Any) -> dict[str, Any]:
    response = post(server, prompt, **fields)
    assert response.status_code == 200, response.text
    decoded: dict[str, Any] = response.json()
    return decoded


def texts(answer: dict[str, Any]) -> list[str]:
    return [choice["text"] for choice in answer["choices"]]


def tokens(server: RunningServer, asked: dict[str, Any]) -> list[int]:
    found: list[int] = httpx.post(server.url + "/tokenize", json=asked).json()["tokens"]
    return found


def test_openais_client_completes_a_text(server: RunningServer) -> None:
    answer = server.client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=6, temperature=0)
    assert answer.object == "text_completion"
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(tokens(server, {"prompt": PROMPT}))
    assert 1 <= answer.usage.completion_tokens <= 6


def test_a_stream_is_the_whole_answer_in_pieces_with_its_usage_and_timing_at_the_end(server: RunningServer) -> None:
    whole = complete(server, ignore_eos=True)
    *pieces, last = events(
        post(server, stream=True, stream_options={"include_usage": True}, ignore_eos=True, logprobs=None)
    )
    assert "".join(piece["choices"][0]["text"] for piece in pieces) == texts(whole)[0]
    assert last["usage"]["completion_tokens"] == 6
    assert last["choices"] == []
    assert {"queue", "prefill", "total"} <= last["server_timing"].keys()


def test_each_of_several_prompts_is_answered_in_its_order(server: RunningServer) -> None:
    prompts = [PROMPT, "A red star", "What"]
    alone = [texts(complete(server, prompt, ignore_eos=True))[0] for prompt in prompts]
    together = complete(server, prompts, n=2, ignore_eos=True)
    assert texts(together) == [text for text in alone for _ in range(2)]
    assert [choice["index"] for choice in together["choices"]] == list(range(6))
    streamed = [""] * 6
    found = events(post(server, prompts, n=2, stream=True, ignore_eos=True))
    for event in found:
        for choice in event["choices"]:
            streamed[choice["index"]] += choice["text"]
    assert streamed == texts(together)
    assert ["server_timing" in event for event in found] == [False] * (len(found) - 1) + [True]


def test_token_ids_are_a_prompt_too(server: RunningServer) -> None:
    ids = tokens(server, {"prompt": PROMPT})
    assert texts(complete(server, ids)) == texts(complete(server))
    assert texts(complete(server, [ids, ids])) == texts(complete(server)) * 2


def test_the_token_ids_of_a_chat_are_answered_as_the_chat(server: RunningServer) -> None:
    asked = body(scene_parts.text_part("What is a star?"))
    chat = httpx.post(server.url + CHAT, json=asked | {"temperature": 0, "max_tokens": 6}, timeout=120).json()
    assert texts(complete(server, tokens(server, asked))) == [chat["choices"][0]["message"]["content"]]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("as_ids", [False, True])
def test_a_prompt_is_echoed_where_the_client_asks_for_it(server: RunningServer, as_ids: bool, stream: bool) -> None:
    prompt = tokens(server, {"prompt": PROMPT}) if as_ids else PROMPT
    response = post(server, prompt, echo=True, stream=stream)
    pieces = events(response) if stream else [response.json()]
    assert "".join(choice["text"] for piece in pieces for choice in piece["choices"]) == PROMPT + texts(
        complete(server)
    )[0]  # fmt: skip


def test_the_likelihood_of_a_text_is_asked_by_echo_without_an_answer(server: RunningServer) -> None:
    (choice,) = complete(server, echo=True, logprobs=1, max_tokens=0)["choices"]
    assert choice["text"] == PROMPT
    first, *others = choice["logprobs"]["token_logprobs"]
    assert first is None
    assert others
    assert all(value <= 0 for value in others)
    refused = post(server, "Which image " * 20, echo=True, logprobs=5, max_tokens=0)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "logprobs")


def test_log_probabilities_are_of_the_older_form(server: RunningServer) -> None:
    whole = complete(server, logprobs=2)
    found = whole["choices"][0]["logprobs"]
    assert len(found["tokens"]) == len(found["token_logprobs"]) == whole["usage"]["completion_tokens"]
    for token, value, likeliest in zip(found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True):
        assert likeliest[token] == value == max(likeliest.values())  # at temperature 0


def test_a_stop_and_a_structure_are_kept(server: RunningServer) -> None:
    assert texts(complete(server, structured_outputs={"regex": "ab{3}c"}, stop=["c"])) == ["abbb"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 3}, "temperature"), ({"logprobs": 99}, "logprobs"), ({"max_tokens": 0}, "max_tokens"),
        ({"allowed_token_ids": [5], "response_format": {"type": "json_object"}}, "response_format"),
        ({"stop": [""]}, "stop"),
    ],
    ids=str,
)  # fmt: skip
def test_what_vllm_refuses_is_a_400_of_the_field(
    server: RunningServer, fields: dict[str, Any], param: str, stream: bool
) -> None:
    response = post(server, stream=stream, **fields)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_openais_client_is_told_of_a_refusal(server: RunningServer) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        server.client.completions.create(model=MODEL, prompt=PROMPT, suffix="x")
    assert refusal.value.param == "suffix"
