"""Tools and calls are written as Qwen2.5's chat template writes them."""

from typing import Any

from llava_interleave_serve.server.engine.tool_calls import hermes_format

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "strict": True, "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}, "name": "weather",
        "description": "In °C.",
    },
}  # fmt: skip
DEFINITIONS = """

# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{"type": "function", "function": {"name": "weather", "description": "In °C.", "parameters": {"type": "object", \
"properties": {"city": {"type": "string"}}}}}
{"type": "function", "function": {"name": "clock"}}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""


def test_definitions_are_one_json_object_a_line() -> None:
    clock = {"type": "function", "function": {"name": "clock"}}
    assert hermes_format.definitions_text([WEATHER, clock]) == DEFINITIONS


def test_a_call_is_written_with_its_arguments_as_they_were() -> None:
    assert hermes_format.call_text("f", '{"a":1}') == '<tool_call>\n{"name": "f", "arguments": {"a":1}}\n</tool_call>'
    assert hermes_format.call_text("f", " ") == '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'


def test_what_is_certain_of_a_forced_call_begins_the_answer() -> None:
    whole = hermes_format.call_text("f", "{}")
    assert whole.startswith(hermes_format.forced_call_beginning(["f"]))
    assert hermes_format.forced_call_beginning(["f"]).endswith('"arguments":')
    assert hermes_format.forced_call_beginning(["f", "g"]) == "<tool_call>\n"
