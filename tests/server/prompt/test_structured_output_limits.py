"""Structures that an answer is asked to have are limited."""

from typing import Any

import pytest

from llava_interleave_serve.server.errors import LimitExceeded, RequestError
from llava_interleave_serve.server.prompt import structured_output_limits
from llava_interleave_serve.server.prompt.structured_output_limits import COMPILED


def nested(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "value",
    [
        nested(COMPILED.levels), {"enum": ["x"] * (COMPILED.items - 2)},
        {"pattern": "x" * 500}, None, 7,
        {"maxLength": 10_000}, {"maximum": 10**12}, {"regex": "a{1,10000}b"}, {"pattern": 7},
        {"pattern": "^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"}, {"pattern": "(a|b){1,500}"},
        {"pattern": "a{"}, {"minItems": "x"},
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_a_structure_within_the_limits_is_accepted(value: Any) -> None:
    structured_output_limits.check("response_format", value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (nested(COMPILED.levels + 1), "levels"),
        ({"enum": ["x"] * COMPILED.items}, "items"),
        ({"properties": {f"p{index}": {} for index in range(COMPILED.items)}}, "items"),
        ({"grammar": "x" * (COMPILED.characters + 1)}, "characters"),
        ({"x" * (COMPILED.characters + 1): 1}, "characters"),
        ({"regex": "x" * 501}, "pattern"),
        ({"pattern": "(a|b){1,501}"}, "500 repetitions"),
        ({"pattern": "^.{0,501}$"}, "500 repetitions"),
        ({"pattern": "((a|b){ 3, 30 }){30}"}, "500 repetitions"),
        ({"properties": {name: {"pattern": "a{251}"} for name in "xy"}}, "500 repetitions"),
        ({"json": {"patternProperties": {"a{251}": {}, "b{251}": {}}}}, "500 repetitions"),
        ({"schema": {"pattern": "x" * 501}}, "pattern"),
        ({"minItems": 10_001}, "repetitions"),
        ({"maxLength": 1e9}, "repetitions"),
        ({"regex": "(a{2}){1, 99999999999999999999}"}, "repetitions"),
        ({"whitespace_pattern": " {0,10001}"}, "repetitions"),
        ({"json": '{"maxLength": 10001}'}, "repetitions"),
        ({"json": '{"enum": [' + ",".join("1" * 1000) + "]}"}, "items"),
        ({"json": '{"a":' * 33 + "1" + "}" * 33}, "levels"),
        ({"json": " " * 32_769}, "characters"),
        ({"structural_tag": '{"structures": [{"schema": {"pattern": "' + "x" * 501 + '"}}]}'}, "pattern"),
        ({"structural_tag": '{"format": {"type": "repeat", "min": 1, "max": 10001}}'}, "repetitions"),
        ({"format": {"type": "any_text", "max_chars": 10_001}}, "repetitions"),
        ({"patternProperties": {"x" * 501: {}}}, "pattern"),
        ({"patternProperties": {"a{10001}": {}}}, "repetitions"),
        ({"grammar": 'root ::= "a"{10001}'}, "repetitions"),
        ({"grammar": 'root ::= "a"{ 2 , 10001 }'}, "repetitions"),
        ({"grammar": "start: A~10001\nA: /a/"}, "repetitions"),
        ({"grammar": "start: A~2..10001\nA: /a/"}, "repetitions"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_structure_beyond_a_limit_is_refused_by_name(value: Any, message: str) -> None:
    with pytest.raises(LimitExceeded, match=message) as refusal:
        structured_output_limits.check("structured_outputs", value)
    assert refusal.value.param == "structured_outputs"


@pytest.mark.parametrize("text", ["{", "", "[" * 5000, "NaN"])
@pytest.mark.parametrize("name", ["json", "structural_tag"])
def test_a_structure_in_a_string_that_is_not_json_is_refused(name: str, text: str) -> None:
    with pytest.raises(RequestError, match="JSON") as refusal:
        structured_output_limits.check("structured_outputs", {name: text})
    assert refusal.value.param == "structured_outputs"
