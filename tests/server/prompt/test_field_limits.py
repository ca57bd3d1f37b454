"""Numbers and lists that are passed on to the engine."""

from typing import Any

import pytest

from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.prompt import field_limits

PATTERN = {"max_pattern_size": 64, "min_pattern_size": 64, "min_count": 16}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 2**63), ("temperature", float("inf")), ("stop", ["x"] * 33), ("bad_words", [1] * 1001),
        ("stop_token_ids", [1] * 100 + ["x"]), ("stop_token_ids", list(range(101))), ("logprob_token_ids", [1] * 129),
        ("allowed_token_ids", list(range(1025))), ("allowed_token_ids", [2**63]),
        ("logit_bias", dict.fromkeys(map(str, range(1025)), -1.5)), ("logit_bias", [1] * 1025),
        ("response_format", {"enum": [1] * 1001}), ("stop", "x" * 32_769), ("bad_words", ["x" * 17_000] * 2),
        ("temperature", "x" * 32_769), ("logit_bias", {"1" * 32_769: 1}),
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
        ("allowed_token_ids", list(range(1024))),
        ("logit_bias", dict.fromkeys(map(str, range(1024)), -1.5)),
        ("stop_token_ids", list(range(100))),
        ("stop", ["x"] * 32),
        ("stop", "x"),
        ("seed", -(2**63)),
        ("repetition_detection", PATTERN),
        ("repetition_detection", {}),
    ],
    ids=range(8),
)
def test_what_is_within_the_limits_passes(field: str, value: Any) -> None:
    field_limits.check(field, value)


@pytest.mark.parametrize(
    "value",
    [
        *(PATTERN | {name: most + 1} for name, most in PATTERN.items()),
        *({"max_pattern_size": size, "min_pattern_size": 3600, "min_count": 2} for size in (10**9, 1e9, "1000000000")),
        {"max_pattern_size": True}, {"min_count": None}, {"x": 1}, dict.fromkeys(map(str, range(1001))),
        {"x" * 32_769: 1}, [64, 2, 2], "x", 1,
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_patterns_that_are_long_to_look_for_are_refused(value: Any) -> None:
    with pytest.raises(RequestError) as refusal:
        field_limits.check("repetition_detection", value)
    assert refusal.value.param == "repetition_detection"
    assert len(refusal.value.message) < 200
