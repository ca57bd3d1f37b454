"""Numbers and lists that are passed on to the engine."""

from typing import Any

import pytest

from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.prompt import field_limits


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 2**63), ("temperature", float("inf")), ("stop", ["x"] * 1001), ("bad_words", [1] * 1001),
        ("stop_token_ids", [1] * 1000 + ["x"]), ("allowed_token_ids", [1] * 1000 + [1.5]),
        ("allowed_token_ids", [2**63]), ("logit_bias", dict.fromkeys(map(str, range(1000)), 1) | {"x": "y"}),
        ("logit_bias", [1] * 1001), ("repetition_detection", dict.fromkeys(map(str, range(1001)))),
        ("response_format", {"enum": [1] * 1001}), ("stop", "x" * 32_769), ("bad_words", ["x" * 17_000] * 2),
        ("temperature", "x" * 32_769), ("logit_bias", {"1" * 32_769: 1}), ("repetition_detection", {"x" * 32_769: 1}),
    ],
    ids=range(16),
)  # fmt: skip
def test_what_the_engine_is_not_to_see_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(RequestError) as refusal:
        field_limits.check(field, value)
    assert refusal.value.param == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("allowed_token_ids", list(range(152_000))),
        ("logit_bias", dict.fromkeys(map(str, range(152_000)), -1.5)),
        ("stop", ["x"] * 1000),
        ("seed", -(2**63)),
    ],
    ids=range(4),
)
def test_tokens_of_a_whole_vocabulary_pass(field: str, value: Any) -> None:
    field_limits.check(field, value)
