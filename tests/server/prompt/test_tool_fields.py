"""Tools of a request: what may be called, what is refused, and how large they may be."""

from typing import Any

import pytest

from llava_interleave_serve.server.errors import LimitExceeded, RequestError
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.tool_fields import WRITTEN

HELLO = {"messages": [{"role": "user", "content": "Hello!"}]}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
NAMED = {"type": "function", "function": {"name": "g"}}
JSON_FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


def tool(name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA, **fields}}


def parse(**fields: Any) -> chat_request.ChatRequest:
    return chat_request.parse(HELLO | fields)


def names(request: chat_request.ChatRequest) -> list[str]:
    return [offered["function"]["name"] for offered in request.offered_tools]


@pytest.mark.parametrize(
    ("fields", "offered"),
    [
        ({}, []), ({"tools": []}, []), ({"tools": [], "tool_choice": "auto"}, []), ({"tool_choice": "auto"}, []),
        ({"tool_choice": "none"}, []), ({"tools": [tool("f"), tool("g")], "tool_choice": "none"}, []),
        ({"tools": [tool("f"), tool("g")]}, ["f", "g"]),
        ({"tools": [tool("f"), tool("g")], "tool_choice": "auto"}, ["f", "g"]),
        ({"tools": [tool("f"), tool("g")], "tool_choice": "required"}, ["f", "g"]),
        ({"tools": [tool("f"), tool("g")], "tool_choice": NAMED}, ["g"]),
        ({"tools": [tool("f")], "response_format": JSON_FORMAT}, []),
        ({"tools": [tool("f")], "response_format": {"type": "text"}}, ["f"]),
        ({"tools": [tool("f")], "structured_outputs": {"choice": ["a"]}}, []),
    ],
    ids=str,
)  # fmt: skip
def test_the_choice_says_which_tools_may_be_called(fields: dict[str, Any], offered: list[str]) -> None:
    request = parse(**fields)
    assert names(request) == offered
    assert bool(request.definitions) == bool(offered)
    assert ("tools" in request.engine_fields) == bool(offered)


def test_vllm_is_told_of_the_tools_the_choice_and_whether_there_may_be_several_calls() -> None:
    request = parse(tools=[tool("f"), tool("g", strict=True)], tool_choice=NAMED, parallel_tool_calls=False, seed=1)
    assert request.engine_fields == {
        "tools": [tool("g", strict=True)], "tool_choice": NAMED, "parallel_tool_calls": False, "seed": 1,
    }  # fmt: skip
    assert parse(parallel_tool_calls=True).engine_fields == {}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tools": [{}]}, "tools[0].type"), ({"tools": [tool("")]}, "tools[0].function.name"),
    ({"tools": [tool("x" * 129)]}, "tools[0].function.name"),
    ({"tools": [tool(returns="x")]}, "tools[0].function.returns"),
    ({"tools": [tool(parameters=[])]}, "tools[0].function.parameters"), ({"tools": {}}, "tools"),
    ({"tools": [tool(parameters={"type": "array"})]}, "tools[0].function.parameters"),
    ({"tools": [tool(strict="yes")]}, "tools[0].function.strict"),
    ({"tools": [tool("f"), tool("f")]}, "tools[1].function.name"),
    ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
    ({"tools": [tool()], "tool_choice": "any"}, "tool_choice"), ({"tools": [tool()], "tool_choice": {}}, "tool_choice"),
    ({"tools": [tool()], "tool_choice": NAMED}, "tool_choice"), ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [tool()], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
    ({"tools": [tool()], "tool_choice": "required", "response_format": JSON_FORMAT}, "tool_choice"),
    ({"tools": [tool()], "tool_choice": "required", "structured_outputs": {"regex": "a"}}, "tool_choice"),
    ({"tools": [tool()], "tool_choice": "required", "use_beam_search": True}, "tool_choice"),
    ({"tools": [tool(strict=True)], "use_beam_search": True}, "tools"),
    ({"parallel_tool_calls": "no"}, "parallel_tool_calls"), ({"functions": [{"name": "f"}]}, "functions"),
    ({"function_call": "auto"}, "function_call"), ({"function_call": {"name": "f"}}, "function_call"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param"), REFUSED, ids=lambda value: str(value)[:80])
def test_tools_that_could_not_be_kept_are_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as refusal:
        parse(**fields)
    assert refusal.value.param == param


def test_a_choice_that_is_none_of_the_four_is_told_them() -> None:
    with pytest.raises(RequestError, match=r'tool_choice must be .none., .auto., .required. or {"type": "function"'):
        parse(tools=[tool()], tool_choice="any")


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


LARGE = {"enum": ["x"] * 1_500}


@pytest.mark.parametrize("choice", ["auto", "required", NAMED])
@pytest.mark.parametrize(
    "parameters",
    [nested(30), {"enum": ["x" * 1000] * 300}, {"enum": ["x"] * 10_000}],
    ids=["levels", "characters", "items"],
)
def test_definitions_are_bounded_whatever_the_choice(choice: Any, parameters: dict[str, Any]) -> None:
    with pytest.raises(LimitExceeded) as refusal:
        parse(tools=[tool("g", parameters=parameters)], tool_choice=choice)
    assert refusal.value.param == "tools"


@pytest.mark.parametrize(
    "large", [LARGE, {"properties": {"a": {"pattern": "a{1,20000}"}}}], ids=["items", "repetitions"]
)
def test_what_is_compiled_is_bounded_as_other_structures_are(large: dict[str, Any]) -> None:
    tools = [tool("f", parameters=large), tool("g")]
    assert names(parse(tools=tools)) == ["f", "g"]  # text for the model
    assert names(parse(tools=tools, tool_choice=NAMED)) == ["g"]  # the other is not compiled
    for fields in ({"tool_choice": "required"}, {"tools": [tool("f", parameters=large, strict=True)]}):
        with pytest.raises(LimitExceeded) as refusal:
            parse(**{"tools": tools, **fields})
        assert refusal.value.param == "tools"


def test_the_36_tools_of_a_chat_page_are_within_the_bounds() -> None:
    parameters = {
        "type": "object",
        "properties": {f"p{n}": {"type": "string", "description": "x" * 100} for n in range(8)},
    }
    tools = [tool(f"f{n}", parameters=parameters, description="x" * 800) for n in range(36)]
    assert len(parse(tools=tools).definitions) < WRITTEN.characters
    assert len(names(parse(tools=tools))) == 36


PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    "call", [CALL, CALL | {"index": 0, "provider_specific_fields": {}}, {"function": CALL["function"]}], ids=str
)
def test_calls_and_results_are_parts_of_a_conversation(call: dict[str, Any]) -> None:
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
        {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "4"}], "name": "f"},
        {"role": "tool"},
    ]
    parsed = chat_request.parse({"messages": messages}).messages[1].tool_calls
    assert [each.function.name for each in parsed or ()] == ["f"]


@pytest.mark.parametrize(
    ("message", "param", "said"),
    [
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "messages[0]", "no tool_calls"),
        ({"role": "user", "content": "x", "tool_call_id": "1"}, "messages[0]", "no tool_call_id"),
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, "messages[0].tool_calls[0].function", "required"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
            "messages[0].tool_calls[0].function.arguments", "string",
        ),
        ({"role": "assistant", "function_call": {}}, "messages[0].function_call", "send them as tool_calls"),
        ({"role": "function", "name": "f", "content": "x"}, "messages[0].role", "role 'tool'"),
        ({"role": "tool", "content": [PICTURE]}, "messages[0]", "text only"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_calls_that_are_no_calls_are_refused_by_name(message: dict[str, Any], param: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as refusal:
        chat_request.parse({"messages": [message]})
    assert refusal.value.param == param
