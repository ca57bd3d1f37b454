"""The tools of a chat request, which of them the model may or must call, and the calls in its messages."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from llava_interleave_serve.server.engine.base import STRUCTURE_FIELDS
from llava_interleave_serve.server.engine.tool_calls import structure
from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.prompt import field_limits, structured_output_limits
from llava_interleave_serve.server.prompt.neutral_fields import PART_HINTS
from llava_interleave_serve.server.prompt.strict_model import Strict
from llava_interleave_serve.server.prompt.structured_output_limits import Size

WRITTEN = Size(levels=40, items=8_000, characters=262_144)  # of all definitions together, which are text for the model
TEXT_FORMAT = {"type": "text"}
CALL_HINTS = frozenset(
    {"index", "provider_specific_fields", "extra_content"}
)  # that accumulated streams and proxies add
NO_TOOLS = (
    "this server calls no tools (--no-tools): send tool_choice 'none' with them or leave them out, and ask for JSON by "
    "response_format"
)
NO_CALLS = "this server writes no calls of tools and no results (--no-tools): send them as text"
CHOICES = """'none', 'auto', 'required' or {"type": "function", "function": {"name": NAME}}"""


class Function(Strict):
    """A function that the model may call. `parameters`: the JSON schema of its arguments, an object; none by default.

    `strict`: the arguments of every call keep the schema.
    """

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: Annotated[bool, Field(strict=True)] | None = None


class Tool(Strict):
    hints = PART_HINTS
    type: Literal["function"]
    function: Function


class CalledFunction(Strict):
    """What was called. `arguments`: JSON text."""

    name: str
    arguments: str


class ToolCall(Strict):
    """A call that the model made, as it was answered."""

    hints = CALL_HINTS
    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class NamedFunction(Strict):
    name: str


class NamedChoice(Strict):
    """The function that must be called."""

    type: Literal["function"]
    function: NamedFunction


def _choice(value: Any) -> Any:
    """The choice, of which a function's is left as OpenAI's object."""
    if value in ("none", "auto", "required"):
        return value
    match value:
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "function", "function": {"name": name}}
    raise RequestError(f"tool_choice must be {CHOICES}", param="tool_choice")


ToolChoice = Annotated[
    Any,
    BeforeValidator(_choice, json_schema_input_type=Literal["none", "auto", "required"] | NamedChoice),
]


def check(tools: Sequence[Tool], choice: Any, sampling: Mapping[str, Any]) -> None:
    """Raises RequestError of `tools` or `tool_choice` for what could not be kept, or is too large.

    choice: as ToolChoice gives it; None for none. sampling: the request's sampling fields.
    """
    names: set[str] = set()
    for index, tool in enumerate(tools):
        parameters = tool.function.parameters
        if tool.function.name in names:
            raise RequestError(
                f"there are two tools of the name {tool.function.name!r}", param=f"tools[{index}].function.name"
            )
        names.add(tool.function.name)
        if parameters is not None and parameters.get("type", "object") != "object":
            raise RequestError(
                "the parameters of a function must be of type 'object'", param=f"tools[{index}].function.parameters"
            )
    definitions = [tool.model_dump(exclude_none=True) for tool in tools]
    structured_output_limits.check_size("tools", definitions, WRITTEN)
    if not field_limits.fits(definitions):
        raise RequestError("tools: a number is too large", param="tools")
    if structure.is_forced(choice):
        _check_forced(names, choice, sampling)
    offers = offered(tools, choice, sampling)
    if structure.is_forced(choice):
        structured_output_limits.check("tools", structure.forced_call_schema(offers))
    elif strict := [tool["function"].get("parameters") for tool in offers if tool["function"].get("strict")]:
        structured_output_limits.check("tools", strict)
        if sampling.get("use_beam_search"):
            raise RequestError(
                "strict tools cannot be kept with use_beam_search: leave one of the two out", param="tools"
            )


def _check_forced(names: set[str], choice: Any, sampling: Mapping[str, Any]) -> None:
    if not names:
        raise RequestError("tool_choice asks for a call, and there are no tools", param="tool_choice")
    if isinstance(choice, Mapping) and (name := choice["function"]["name"]) not in names:
        raise RequestError(f"tool_choice names {name[:200]!r}, which is none of the tools", param="tool_choice")
    if field := _structure_field(sampling):
        raise RequestError(f"tool_choice asks for a call, and {field} for another answer", param="tool_choice")
    if sampling.get("use_beam_search"):
        raise RequestError(
            "tool_choice cannot be kept with use_beam_search: leave one of the two out", param="tool_choice"
        )


def offered(tools: Sequence[Tool], choice: Any, sampling: Mapping[str, Any]) -> list[dict[str, Any]]:
    """OpenAI's objects of the tools that the model may call: of a named choice the one named, with `none` none.

    A structure of the whole answer leaves no room for calls, so that none may be called beside one.
    """
    if choice == "none" or (not structure.is_forced(choice) and _structure_field(sampling)):
        return []
    named = choice["function"]["name"] if isinstance(choice, Mapping) else None
    return [tool.model_dump(exclude_none=True) for tool in tools if named in (None, tool.function.name)]


def _structure_field(sampling: Mapping[str, Any]) -> str | None:
    """The field that asks for a structure of the answer; None without one."""
    return next((name for name in STRUCTURE_FIELDS if sampling.get(name) not in (None, TEXT_FORMAT)), None)
