"""vLLM's request is checked by vLLM's own checks before there is a prompt."""

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer

from llava_interleave_serve.server import cli
from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from llava_interleave_serve.server.engine.completions.vllm_completion import RenderedCompletions
from llava_interleave_serve.server.engine.rendered_request import RenderedRequest
from llava_interleave_serve.server.engine.vllm_chat import RenderedChat
from llava_interleave_serve.server.errors import RequestError, ServeError


@pytest.fixture(scope="module")
def chat() -> Any:
    """What the checks read of vLLM's chat serving, for the demo checkpoint; no engine runs."""
    config = cli.parse([]).engine_args.create_engine_config()
    tokenizer = AutoTokenizer.from_pretrained(DEMO_CHECKPOINT)
    tokenizer.max_token_id = len(tokenizer) - 1
    return SimpleNamespace(
        engine_client=SimpleNamespace(vllm_config=config),
        renderer=SimpleNamespace(tokenizer=tokenizer),
        default_sampling_params={},
        override_max_tokens=None,
    )


def check(chat: Any, **sampling: Any) -> None:
    RenderedRequest.from_sampling(sampling).check(chat)


def with_lengths(chat: Any, default: int | None, ceiling: int | None) -> Any:
    """The same with the tokens of an answer that the checkpoint and the operator have set."""
    return SimpleNamespace(
        **vars(chat)
        | {"default_sampling_params": {"max_tokens": default} if default else {}, "override_max_tokens": ceiling}
    )


REFUSED: list[tuple[dict[str, Any], str | None]] = [
    ({"temperature": "hot"}, "temperature"), ({"temperature": 3}, "temperature"), ({"top_p": 0}, "top_p"),
    ({"logprobs": True, "top_logprobs": 99}, "top_logprobs"), ({"top_logprobs": 2}, "top_logprobs"),
    ({"stream_options": {"include_usage": True}}, "stream_options"), ({"stop_token_ids": [10**6]}, "stop_token_ids"),
    ({"allowed_token_ids": [10**6]}, "allowed_token_ids"), ({"logit_bias": {"1000000": 1}}, "logit_bias"),
    ({"logit_bias": {"x": 1}}, "logit_bias"), ({"bad_words": ["x"] * 500 + ["<" * 20 + str(i) for i in range(200)]},
    "bad_words"), ({"min_tokens": 9, "max_tokens": 2}, "min_tokens"), ({"stop": [""]}, "stop"), ({"min_p": 2}, "min_p"),
    ({"top_k": -2}, "top_k"), ({"presence_penalty": 3}, "presence_penalty"), ({"bad_words": [""]}, "bad_words"),
    ({"structured_outputs": {"json": ""}}, "structured_outputs"), ({"bad_words": ["<" * 1_100]}, "bad_words"),
    ({"response_format": {"type": "yaml"}}, "response_format"),
    ({"structured_outputs": {"regex": "((("}}, None), ({"structured_outputs": {"choice": []}}, None),
    ({"use_beam_search": True, "n": 11}, "n"), ({"use_beam_search": True, "temperature": 3}, "temperature"),
]  # fmt: skip


@pytest.mark.parametrize(("sampling", "param"), REFUSED, ids=lambda value: str(value)[:60])
def test_sampling_that_vllm_refuses_is_refused_without_a_prompt(
    chat: Any, sampling: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(RequestError) as refusal:
        check(chat, **sampling)
    assert (refusal.value.status, refusal.value.param) == (400, param)


@pytest.mark.parametrize(
    "sampling",
    [
        {}, {"max_tokens": 10**9}, {"n": 16, "temperature": 0}, {"use_beam_search": True, "n": 10, "temperature": 0},
        {"stop": "x", "seed": -1}, {"structured_outputs": {"choice": ["a"]}}, {"bad_words": ["x"]},
        {"response_format": {"type": "text"}}, {"stream": True, "stream_options": {"include_usage": True}},
    ],
    ids=str,
)  # fmt: skip
def test_sampling_that_vllm_takes_passes(chat: Any, sampling: dict[str, Any]) -> None:
    check(chat, **sampling)


@pytest.mark.parametrize(
    ("sampling", "default", "ceiling", "is_refused"),
    [
        ({}, 64, None, True), ({"max_tokens": 80}, 64, None, False), ({"max_tokens": 80}, 64, 64, True),
        ({"max_completion_tokens": 80}, 64, 64, True), ({}, 128, 128, False), ({}, None, None, False),
        ({"max_tokens": 80, "max_completion_tokens": 5}, None, None, True),
        ({"max_tokens": 5, "max_completion_tokens": 80}, None, None, False),
    ],
)  # fmt: skip
def test_more_tokens_than_the_checkpoint_or_the_operator_allows_are_refused_without_a_prompt(
    chat: Any, sampling: dict[str, Any], default: int | None, ceiling: int | None, is_refused: bool
) -> None:
    serving = with_lengths(chat, default, ceiling)
    with pytest.raises(RequestError) if is_refused else contextlib.nullcontext() as refusal:
        RenderedChat.check(serving, {"min_tokens": 70, **sampling})
    if refusal:
        assert (refusal.value.status, refusal.value.param) == (400, "min_tokens")
    completion = {"min_tokens": 70, "max_tokens": 80}
    with pytest.raises(RequestError) if ceiling == 64 else contextlib.nullcontext():
        RenderedCompletions.check(serving, completion)


def refused_by_the_engine(sampling: dict[str, Any], errored: bool = False) -> ServeError:
    """What a client is told of a 500 of vLLM's."""
    serving: Any = SimpleNamespace(engine_client=SimpleNamespace(errored=errored))
    request = RenderedRequest.from_sampling(sampling)
    return RenderedChat._blame_structure(serving, request, ServeError("the engine could not answer this request"))


def test_a_fault_of_the_engine_is_blamed_on_a_structure_only_if_one_was_asked_for() -> None:
    structured: dict[str, Any] = {"response_format": {"type": "json_object"}}
    refusal = refused_by_the_engine(structured)
    assert (refusal.status, refusal.param) == (400, "response_format")
    assert refused_by_the_engine(structured, errored=True).status == 500
    assert refused_by_the_engine({"structured_outputs": {"regex": "a"}}).param == "structured_outputs"
    for sampling in ({}, {"response_format": {"type": "text"}}):
        assert refused_by_the_engine(sampling).status == 500


@pytest.mark.parametrize(
    ("sampling", "defaults", "equal"),
    [
        ({"n": 3, "temperature": 0}, {}, 3), ({"n": 3}, {"temperature": 0.0}, 3), ({"n": 3}, {}, 1),
        ({"n": 3, "temperature": 0.5}, {"temperature": 0}, 1), ({"temperature": 0}, {}, 1),
        ({"n": 3, "temperature": 0, "use_beam_search": True}, {}, 1),
    ],
)  # fmt: skip
def test_choices_at_temperature_0_are_one_choice_for_vllm(
    sampling: dict[str, Any], defaults: dict[str, Any], equal: int
) -> None:
    request = RenderedRequest.from_sampling(sampling)
    assert request.equal_choices(defaults) == equal
    if equal > 1:
        assert request.to_sampling_params(5, defaults).n == 1
        assert request.n == equal
