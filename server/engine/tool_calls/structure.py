"""The structures that hold a model to calls of tools: a forced call, and calls of strict tools where it may call.

A forced call is the object of its arguments where there is one tool, else `{"name": …, "arguments": …}`; what comes
before ends the prompt (`hermes_format.forced_call_beginning`). Where the model may also answer in text, the structure
begins with `<tool_call>`, behind which only calls as Hermes writes them can stand.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llava_interleave_serve.server.engine.tool_calls.hermes_format import CALL_END, CALL_START

Tool = Mapping[str, Any]
# Keywords that say which members an object has; one without any of them may have all.
MEMBER_KEYWORDS = ("properties", "additionalProperties", "patternProperties", "$ref", "anyOf", "oneOf", "allOf")
MOST_WHITE_SPACE = 1  # between tokens of JSON; some models write nothing else where it is not bounded


def is_forced(tool_choice: Any) -> bool:
    """True if the answer must be a call: `required`, or a function by its name."""
    return tool_choice == "required" or isinstance(tool_choice, Mapping)


def call_structure(tools: Sequence[Tool], tool_choice: Any) -> dict[str, Any] | None:
    """A value of `structured_outputs` that keeps the tools' schemas; None if the model is free.

    tools: those that may be called; of a named choice, the one that is named. tool_choice: OpenAI's.
    """
    if is_forced(tool_choice):
        return {"json": forced_call_schema(tools)}
    if any(tool["function"].get("strict") for tool in tools):
        return {"structural_tag": json.dumps(_calls_in_text(tools))}
    return None


def forced_call_schema(tools: Sequence[Tool]) -> dict[str, Any]:
    """The JSON schema of one call of any of the tools."""
    if len(tools) == 1:
        return arguments_schema(tools[0])
    definitions: dict[str, Any] = {}
    calls = []
    for index, tool in enumerate(tools):
        arguments = arguments_schema(tool)
        if _has_reference(arguments):
            # References are relative to the whole schema, and two tools may define the same name.
            definitions[str(index)] = _moved(arguments, f"#/$defs/{index}")
            arguments = {"$ref": f"#/$defs/{index}"}
        properties = {"name": {"const": tool["function"]["name"]}, "arguments": arguments}
        calls.append(
            {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
        )
    return {"anyOf": calls} | ({"$defs": definitions} if definitions else {})


def arguments_schema(tool: Tool) -> dict[str, Any]:
    """The schema of the arguments of a tool, which are an object; without parameters, of an empty one."""
    parameters = tool["function"].get("parameters")
    if parameters is None:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    if not any(keyword in parameters for keyword in MEMBER_KEYWORDS):
        return {"type": "object", "additionalProperties": True, **parameters}
    return parameters if "$ref" in parameters else {"type": "object", **parameters}


def _calls_in_text(tools: Sequence[Tool]) -> dict[str, Any]:
    """The structural tag of a text in which calls may stand; tools that are not strict take any object."""
    tags = []
    for tool in tools:
        function = tool["function"]
        schema = arguments_schema(tool) if function.get("strict") else {"type": "object", "additionalProperties": True}
        content = {"type": "json_schema", "json_schema": schema, "max_whitespace_cnt": MOST_WHITE_SPACE}
        begin = f'{CALL_START}\n{{"name": {json.dumps(function["name"], ensure_ascii=False)}, "arguments": '
        tags.append({"type": "tag", "begin": begin, "content": content, "end": f"}}\n{CALL_END}"})
    return {"type": "structural_tag", "format": {"type": "triggered_tags", "triggers": [CALL_START], "tags": tags}}


def _has_reference(value: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(value.get("$ref"), str) or any(map(_has_reference, value.values()))
    return isinstance(value, list) and any(map(_has_reference, value))


def _moved(value: Any, path: str) -> Any:
    """The schema with its references to itself made relative to its place in another."""
    if isinstance(value, list):
        return [_moved(item, path) for item in value]
    if not isinstance(value, dict):
        return value
    moved = {name: _moved(item, path) for name, item in value.items()}
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = path + reference[1:]
    return moved
