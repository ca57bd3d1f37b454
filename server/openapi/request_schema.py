"""The JSON schema of a chat request: what pydantic says of it, the sampling fields, and the fields that do nothing."""

from typing import Any

from llava_interleave_serve.server.openapi import sampling_fields
from llava_interleave_serve.server.prompt import chat_request, neutral_fields

REFERENCE = "#/components/schemas/{model}"
OWN = {
    "messages": "The conversation. The last message is usually the user's.",
    "prompt_style": "How the prompt is written; by default as the checkpoint's authors evaluate it.",
    "tools": "Functions that the model may call. Their definitions are a part of the prompt.",
    "tool_choice": "Whether the model may or must call one of the tools, and which; `auto` with tools, else `none`.",
    "parallel_tool_calls": "False: an answer has one call at most.",
    "max_visual_tokens": "The server picks frames and pooling so that the request's visuals take no more tokens.",
}
IGNORED = "Accepted for other servers' clients; changes nothing."


def chat_request_schema() -> dict[str, Any]:
    """The schema of ChatRequest; those that it refers to are its `$defs`, by their names among the components."""
    schema = chat_request.ChatRequest.model_json_schema(ref_template=REFERENCE)
    parts = schema["$defs"]
    properties = schema["properties"]
    for name, field in sampling_fields.SCHEMAS.items():
        properties[name] = (
            properties[name] | {"description": field["description"]} if name in properties else _or_null(field)
        )
    for name, description in OWN.items():
        properties[name]["description"] = description
    properties |= {name: field for name, field in _neutral_fields().items() if name not in properties}
    for field in properties.values():
        field.pop("title", None)  # pydantic's, which say the name again
    schema["description"] = (
        "OpenAI's chat request, with parts for videos, frames and camera views. A field that is not here is refused by "
        "its name; one that is null is as absent."
    )
    schema["additionalProperties"] = False
    _add_hints(parts)
    return schema


def _or_null(field: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field that may be null, which is as absent."""
    described = {"description": field["description"]}
    return described | {
        "anyOf": [{name: value for name, value in field.items() if name != "description"}, {"type": "null"}]
    }


def _neutral_fields() -> dict[str, Any]:
    """The fields that this server does not have, with the values at which they ask for nothing."""
    fields: dict[str, Any] = {name: {"description": IGNORED} for name in sorted(neutral_fields.HINTS)}
    for name, neutral in neutral_fields.FIELDS.items():
        reason = f"{neutral.reason[:1].upper()}{neutral.reason[1:]}. " if neutral.reason else ""
        beside = {"tools": "tool_choice", "functions": "function_call"}.get(name)
        if beside is None:
            fields[name] = {"description": f"{reason}Accepted at these values.", "enum": [*neutral.values, None]}
        else:
            fields[name] = {"description": f"{reason}Accepted beside `{beside}: none`.", "type": ["array", "null"]}
    return fields


def _add_hints(parts: dict[str, Any]) -> None:
    """Adds to messages and their parts the fields that are accepted there and not read."""
    names = {"Message": neutral_fields.MESSAGE_HINTS}
    names |= {name: neutral_fields.PART_HINTS for name in parts if name.endswith("Part")}
    for name, hints in names.items():
        parts[name]["properties"] |= {hint: {"description": IGNORED} for hint in sorted(hints)}
