"""The JSON schemas of requests: what pydantic says of them, the sampling fields, and the fields that do nothing."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from llava_interleave_serve.server.openapi import sampling_fields
from llava_interleave_serve.server.prompt import chat_request, neutral_fields
from llava_interleave_serve.server.prompt.text.completion_request import CompletionRequest
from llava_interleave_serve.server.prompt.text.tokenize_request import TokenizeText

REFERENCE = "#/components/schemas/{model}"
OWN = {
    "prompt": "A text, token ids, or a list of either.",
    "echo": "The prompt stands before the answer.",
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
    schema = _schema(chat_request.ChatRequest, sampling_fields.SCHEMAS, neutral_fields.FIELDS)
    schema["description"] = (
        "OpenAI's chat request, with parts for videos, frames and camera views. A field that is not here is refused by "
        "its name; one that is null is as absent."
    )
    _add_hints(schema["$defs"])
    return schema


def completion_request_schema() -> dict[str, Any]:
    """The schema of CompletionRequest."""
    names = CompletionRequest.sampling_fields
    sampling = {name: field for name, field in sampling_fields.SCHEMAS.items() if name in names}
    schema = _schema(CompletionRequest, sampling, neutral_fields.COMPLETION_FIELDS)
    schema["description"] = (
        "OpenAI's completion request: texts or token ids without a conversation. A field that is not here is refused "
        "by its name; one that is null is as absent."
    )
    return schema


def tokenize_request_schema() -> dict[str, Any]:
    """The schema of a body of /tokenize: a text, or a conversation with all the fields of a chat request."""
    conversation = chat_request_schema()
    parts = conversation.pop("$defs")
    text = TokenizeText.model_json_schema(ref_template=REFERENCE)
    conversation |= {"title": "TokenizeConversation"}
    conversation["properties"] |= {"return_token_strs": text["properties"]["return_token_strs"]}
    names = [{"$ref": REFERENCE.format(model=schema["title"])} for schema in (text, conversation)]
    return {"anyOf": names, "$defs": {**parts, text["title"]: text, conversation["title"]: conversation}}


def _schema(
    model: type[BaseModel], sampling: Mapping[str, Any], neutral: Mapping[str, neutral_fields.Neutral]
) -> dict[str, Any]:
    """The schema of a request with its sampling fields, and with the fields that do nothing."""
    schema = model.model_json_schema(ref_template=REFERENCE)
    properties = schema["properties"]
    for name, field in sampling.items():
        properties[name] = (
            properties[name] | {"description": field["description"]} if name in properties else _or_null(field)
        )
    for name, description in OWN.items():
        if name in properties:
            properties[name]["description"] = description
    properties |= {name: field for name, field in _neutral_fields(neutral).items() if name not in properties}
    for field in properties.values():
        field.pop("title", None)  # pydantic's, which say the name again
    schema["additionalProperties"] = False
    return schema


def _or_null(field: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field that may be null, which is as absent."""
    described = {"description": field["description"]}
    return described | {
        "anyOf": [{name: value for name, value in field.items() if name != "description"}, {"type": "null"}]
    }


def _neutral_fields(neutral: Mapping[str, neutral_fields.Neutral]) -> dict[str, Any]:
    """The fields that this server does not have, with the values at which they ask for nothing."""
    fields: dict[str, Any] = {name: {"description": IGNORED} for name in sorted(neutral_fields.HINTS)}
    for name, field in neutral.items():
        reason = f"{field.reason[:1].upper()}{field.reason[1:]}. " if field.reason else ""
        if name == "functions":
            allowed = "Accepted as an empty list, and beside `function_call: none`."
            fields[name] = {"description": f"{reason}{allowed}", "type": ["array", "null"]}
        else:
            fields[name] = {"description": f"{reason}Accepted at these values.", "enum": [*field.values, None]}
    return fields


def _add_hints(parts: dict[str, Any]) -> None:
    """Adds to messages and their parts the fields that are accepted there and not read."""
    names = {"Message": neutral_fields.MESSAGE_HINTS}
    names |= {name: neutral_fields.PART_HINTS for name in parts if name.endswith("Part")}
    for name, hints in names.items():
        parts[name]["properties"] |= {hint: {"description": IGNORED} for hint in sorted(hints)}
