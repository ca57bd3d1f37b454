"""Calls that the demo model is made to write by vLLM: forced ones, strict ones, cut ones, whole and streamed."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from tests.support import demo_server, scene_parts

pytestmark = pytest.mark.engine
MESSAGES: Any = [
    {"role": "user", "content": [scene_parts.image_part(1), scene_parts.text_part("What is in the image?")]}
]
COLOURS = ["red", "green"]
PICK = {
    "type": "object",
    "properties": {"colour": {"enum": COLOURS}, "many": {"type": "boolean"}},
    "required": ["colour"],
}
TOOLS: Any = [
    {"type": "function", "function": {"name": "pick", "description": "Picks a colour.", "parameters": PICK}},
    {"type": "function", "function": {"name": "stop"}},
]
NAMED: Any = {"type": "function", "function": {"name": "pick"}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    with demo_server.start(tmp_path_factory.mktemp("server"), "--auto-tools", "write") as server:
        yield server.client


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    """The choices of an answer, put together if it is streamed."""
    fields = {"model": "llava-interleave-demo", "messages": MESSAGES, "temperature": 0, "tools": TOOLS} | fields
    if not fields.get("stream"):
        return client.chat.completions.create(**fields).choices
    text, reason = "", None
    calls: list[Any] = []
    for event in client.chat.completions.create(**fields):
        for choice in event.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or ():
                if call.index == len(calls):
                    calls.append(call)
                else:
                    calls[call.index].function.arguments += call.function.arguments
    return [SimpleNamespace(message=SimpleNamespace(content=text, tool_calls=calls), finish_reason=reason)]


def assert_picks(call: Any) -> None:
    assert (call.type, call.function.name) == ("function", "pick")
    arguments = json.loads(call.function.arguments)
    assert arguments["colour"] in COLOURS
    assert arguments.keys() <= {"colour", "many"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_named_call_is_made_with_arguments_of_its_schema(client: openai.OpenAI, stream: bool) -> None:
    (choice,) = ask(client, tool_choice=NAMED, stream=stream)
    (call,) = choice.message.tool_calls
    assert_picks(call)
    assert choice.finish_reason == "stop"  # as OpenAI answers it
    assert not choice.message.content


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tools", [TOOLS[:1], TOOLS[1:], TOOLS])
def test_a_required_call_is_one_of_the_tools(client: openai.OpenAI, tools: Any, stream: bool) -> None:
    (choice,) = ask(client, tool_choice="required", tools=tools, stream=stream)
    (call,) = choice.message.tool_calls
    assert call.function.name in [tool["function"]["name"] for tool in tools]
    assert_picks(call) if call.function.name == "pick" else None
    assert isinstance(json.loads(call.function.arguments), dict)
    assert call.id
    assert choice.finish_reason == "tool_calls"


def test_each_of_several_choices_has_a_call(client: openai.OpenAI) -> None:
    for choice in ask(client, tool_choice=NAMED, n=3, temperature=1, seed=1):
        assert_picks(choice.message.tool_calls[0])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", [NAMED, "required"])
def test_a_call_that_is_cut_ends_by_its_length(client: openai.OpenAI, choice: Any, stream: bool) -> None:
    (cut,) = ask(client, tool_choice=choice, tools=TOOLS[:1], max_tokens=3, stream=stream)
    assert cut.finish_reason == "length"
    assert cut.message.tool_calls[0].function.name == "pick"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_an_answer_without_a_call_is_text(client: openai.OpenAI, strict: bool, stream: bool) -> None:
    pick = TOOLS[0]["function"] | {"strict": strict, "parameters": PICK | {"additionalProperties": False}}
    (choice,) = ask(client, tools=[{"type": "function", "function": pick}], stream=stream)
    assert choice.message.content
    assert not choice.message.tool_calls
    assert choice.finish_reason == "stop"


def test_a_schema_that_cannot_be_kept_is_refused_by_the_name_of_the_tools(client: openai.OpenAI) -> None:
    sets = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}}
    with pytest.raises(openai.BadRequestError) as refusal:
        ask(client, tools=[{"type": "function", "function": {"name": "f", "parameters": sets}}], tool_choice="required")
    assert refusal.value.param == "tools"


def test_the_result_of_a_call_is_read_in_the_next_turn(client: openai.OpenAI) -> None:
    (called,) = ask(client, tool_choice=NAMED)
    result = {"role": "tool", "tool_call_id": called.message.tool_calls[0].id, "content": "red"}
    (choice,) = ask(client, messages=[*MESSAGES, called.message.model_dump(), result], tools=openai.NOT_GIVEN)
    assert choice.message.content
