"""Models that refuse the fields that they do not know, and the error of the first fault that pydantic finds."""

from collections.abc import Container
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails

from llava_interleave_serve.server.errors import RequestError

OLDER_CALL = "this is an older form of calls: send them as tool_calls"
OLDER_RESULT = "this is an older form of results: send a message of role 'tool' with the tool_call_id of its call"
PART_TYPE_STEP = 4  # index of the part's type in pydantic's path: messages, 0, content, 0, image_url, image_url, url
# By pydantic's type of an error, where its own message speaks of Python.
MESSAGES = {
    "extra_forbidden": "there is no such option",
    "model_type": "Input should be an object",
    "model_attributes_type": "Input should be an object",
    "union_tag_not_found": "the part has no 'type'",
}


class Strict(BaseModel):
    """A model that refuses fields it does not know. A field that is null is as absent."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    hints: ClassVar[frozenset[str]] = frozenset()  # fields that change nothing

    @model_validator(mode="before")
    @classmethod
    def _with_fields_that_matter(cls, data: Any) -> Any:
        return fields_that_matter(data, cls.model_fields, cls.hints) if isinstance(data, dict) else data


def fields_that_matter(data: dict[str, Any], known: Container[str], hints: Container[str]) -> dict[str, Any]:
    """The fields that are not null and no hints; of the unknown ones the first, since each would be an error.

    An unknown field that is an empty list asks for nothing: clients send answers back with their `tool_calls: []`.
    """
    fields: dict[str, Any] = {}
    unknown = None
    for name, value in data.items():
        if value is None or name in hints:
            continue
        if name not in known:
            if unknown is not None or value == []:
                continue
            unknown = name
        fields[name] = value
    return fields


def first_error(error: ValidationError) -> RequestError:
    """The error of the first field at fault, as the client is told."""
    first = error.errors(include_url=False, include_context=False)[0]
    param = _path(first["loc"])
    return RequestError(f"{param or 'the body'}: {_message(first)}", param=param or None)


def _message(error: ErrorDetails) -> str:
    """What is wrong with the field that pydantic's error is of."""
    name = error["loc"][-1] if error["loc"] else None
    if name == "function_call":
        return OLDER_CALL
    if name == "role" and error["input"] == "function":
        return OLDER_RESULT
    return MESSAGES.get(error["type"]) or error["msg"].removeprefix("Value error, ")


def _path(location: tuple[int | str, ...]) -> str:
    """Pydantic's path as clients write it, without the part's type that pydantic puts behind the part's number."""
    is_part = location[:1] == ("messages",) and location[2:3] == ("content",)
    steps = [step for index, step in enumerate(location) if not (is_part and index == PART_TYPE_STEP)]
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return path.removeprefix(".")
