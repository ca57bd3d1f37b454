"""The bound on the log probabilities of an answer."""

from typing import Any

import pytest

from llava_interleave_serve.server.errors import LimitExceeded
from llava_interleave_serve.server.prompt import answer_logprobs, chat_request

MOST = 1000
HELLO = {"messages": [{"role": "user", "content": "Hello."}]}


def bounded(tokens: int = 10_000, **fields: Any) -> chat_request.ChatRequest:
    return answer_logprobs.bounded(chat_request.parse(HELLO | fields), tokens, MOST)


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"logprobs": True}, 1000),
        ({"logprobs": True, "top_logprobs": 9}, 100),
        ({"logprobs": True, "top_logprobs": 9, "n": 10}, 10),
        ({"logprobs": True, "logprob_token_ids": [1, 2, 3]}, 250),
        ({"logprobs": True, "top_logprobs": 4, "logprob_token_ids": [1]}, 500),
        ({"logprobs": True, "top_logprobs": 9, "min_tokens": 100}, 100),
    ],
)
def test_an_answer_whose_length_is_not_asked_for_has_what_the_bound_leaves(fields: dict[str, Any], left: int) -> None:
    assert bounded(**fields).sampling["max_tokens"] == left
    unchanged = bounded(tokens=left, **fields)
    assert unchanged.most_tokens is None
    exact = bounded(tokens=left, max_tokens=left, **fields)
    assert exact.most_tokens == left


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_longer_answer_that_is_asked_for_is_refused(field: str) -> None:
    with pytest.raises(LimitExceeded, match=r"^top_logprobs: the 101 tokens .* max_tokens$") as refusal:
        bounded(tokens=101, logprobs=True, top_logprobs=9, **{field: 101})
    assert refusal.value.param == "top_logprobs"


def test_more_than_the_bound_for_one_token_is_refused_whatever_the_length() -> None:
    with pytest.raises(LimitExceeded):
        answer_logprobs.bounded(chat_request.parse(HELLO | {"logprobs": True}), 10, 0)


@pytest.mark.parametrize("fields", [{}, {"logprobs": False, "n": 16}, {"max_tokens": 9_999, "n": 16}])
def test_an_answer_without_log_probabilities_has_no_bound(fields: dict[str, Any]) -> None:
    assert bounded(**fields).most_tokens == fields.get("max_tokens")


def test_those_of_a_completion_are_of_all_its_prompts_and_choices() -> None:
    sampling = {"n": 2, "logprobs": 4}
    answer_logprobs.check(sampling, 25, MOST, prompts=4)
    answer_logprobs.check({"n": 2}, 10**6, MOST, prompts=4)
    with pytest.raises(LimitExceeded, match=r"^logprobs: the 208 tokens") as refusal:
        answer_logprobs.check(sampling, 26, MOST, prompts=4)
    assert refusal.value.param == "logprobs"


def test_an_answer_that_must_be_longer_is_refused_by_the_field_that_is_in_the_way() -> None:
    with pytest.raises(LimitExceeded) as refusal:
        bounded(logprobs=True, top_logprobs=9, min_tokens=101)
    assert refusal.value.param == "top_logprobs"
