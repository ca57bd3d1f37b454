"""The chat request as clients may send it. A field that is not here is refused by its name."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    ValidationError,
    model_validator,
)

from llava_interleave_serve.server.engine.base import PromptStyle
from llava_interleave_serve.server.engine.tool_calls import hermes_format, structure
from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.prompt import strict_model, tool_fields
from llava_interleave_serve.server.prompt.media_options import ImageUrl, MediaOptions, MultiView, VideoFrames, VideoUrl
from llava_interleave_serve.server.prompt.neutral_fields import MESSAGE_HINTS, PART_HINTS
from llava_interleave_serve.server.prompt.sampling_request import SAMPLING_FIELDS, SamplingRequest, TokenCount
from llava_interleave_serve.server.prompt.strict_model import Strict
from llava_interleave_serve.server.prompt.tool_fields import Tool, ToolCall, ToolChoice


class TextPart(Strict):
    hints = PART_HINTS
    type: Literal["text"]
    text: str


class RefusalPart(Strict):
    """A refusal in the place of an assistant's text, as OpenAI's models answer it; it is not written to the prompt."""

    hints = PART_HINTS
    type: Literal["refusal"]
    refusal: str


class ImagePart(Strict):
    hints = PART_HINTS
    type: Literal["image_url"]
    image_url: ImageUrl


class VideoPart(Strict):
    hints = PART_HINTS
    type: Literal["video_url"]
    video_url: VideoUrl


class FramesPart(Strict):
    hints = PART_HINTS
    type: Literal["video_frames"]
    video_frames: VideoFrames


class ViewsPart(Strict):
    hints = PART_HINTS
    type: Literal["multi_view"]
    multi_view: MultiView


MediaPart = ImagePart | VideoPart | FramesPart | ViewsPart
Part = Annotated[TextPart | RefusalPart | MediaPart, Field(discriminator="type")]


def _as_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class Message(Strict):
    """One message; its content is a string or a list of parts. `developer` is OpenAI's newer name of `system`.

    An assistant's message may hold the calls of tools that it made; a message of role `tool` is the result of one.
    """

    # Which messages may leave it out depends on the role.
    model_config = ConfigDict(json_schema_extra=lambda schema: schema["required"].remove("content"))
    hints = MESSAGE_HINTS
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[
        list[Part], FailFast(), BeforeValidator(_as_parts, json_schema_input_type=str | list[Part] | None)
    ]
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True)] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_content(cls, data: Any) -> Any:
        # An answer may have been empty, and so may a result.
        may_be_empty = isinstance(data, dict) and data.get("role") in ("assistant", "tool")
        return data | {"content": []} if may_be_empty and data.get("content") is None else data

    @model_validator(mode="after")
    def _check_parts_are_of_the_role(self) -> "Message":
        if self.role != "user" and any(not isinstance(part, TextPart | RefusalPart) for part in self.content):
            raise ValueError(f"a message of role {self.role!r} may hold text only")
        if self.role != "assistant" and any(isinstance(part, RefusalPart) for part in self.content):
            raise ValueError(f"a message of role {self.role!r} may hold no refusal")
        if self.role != "assistant" and self.tool_calls:
            raise ValueError(f"a message of role {self.role!r} may hold no tool_calls")
        if self.role != "tool" and self.tool_call_id is not None:
            raise ValueError(f"a message of role {self.role!r} may hold no tool_call_id")
        return self


class ChatRequest(SamplingRequest):
    """OpenAI's chat request with its part types, `max_visual_tokens`, `prompt_style`, and vLLM's sampling fields.

    The sampling fields are those of `sampling_fields`.
    """

    sampling_fields = SAMPLING_FIELDS | {"max_completion_tokens", "top_logprobs"}

    messages: Annotated[list[Message], FailFast(), Field(min_length=1)]
    max_visual_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    prompt_style: PromptStyle | None = None
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    logprobs: Annotated[bool, Field(strict=True)] | None = None
    top_logprobs: Annotated[int, Field(strict=True, ge=0)] | None = None
    use_beam_search: Annotated[bool, Field(strict=True)] | None = None
    tools: Annotated[list[Tool], Field(fail_fast=True)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: Annotated[bool, Field(strict=True)] | None = None

    @model_validator(mode="after")
    def _check_tools(self) -> "ChatRequest":
        tool_fields.check(self.tools or (), self.tool_choice, self.sampling)
        return self

    @property
    def offered_tools(self) -> list[dict[str, Any]]:
        """OpenAI's objects of the tools that the model may call."""
        return tool_fields.offered(self.tools or (), self.tool_choice, self.sampling)

    @property
    def definitions(self) -> str:
        """The text that tells the model of the tools that it may call; empty without any."""
        tools = self.offered_tools
        return hermes_format.definitions_text(tools) if tools else ""

    @property
    def answer_beginning(self) -> str:
        """What is certain of the answer: the beginning of a call that must be made."""
        if not structure.is_forced(self.tool_choice):
            return ""
        return hermes_format.forced_call_beginning([tool["function"]["name"] for tool in self.offered_tools])

    @property
    def engine_fields(self) -> dict[str, Any]:
        """The fields that vLLM reads, with the tools that the model may call."""
        if not (tools := self.offered_tools):
            return self.sampling
        parallel = {} if self.parallel_tool_calls is None else {"parallel_tool_calls": self.parallel_tool_calls}
        return self.sampling | {"tools": tools, "tool_choice": self.tool_choice or "auto"} | parallel

    @property
    def most_tokens(self) -> int | None:
        """The most tokens that the answer is to have; None if the request does not say."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    def texts(self) -> Iterator[str]:
        """Yields every text that is written to the prompt, but for what the format adds."""
        yield self.definitions
        for message in self.messages:
            yield from (part.text for part in message.content if isinstance(part, TextPart))
            for call in message.tool_calls or ():
                yield call.function.name
                yield call.function.arguments

    def media_parts(self) -> Iterator[tuple[str, MediaPart]]:
        """Yields every part but text, each with the path of its options: `messages[0].content[2].image_url`."""
        for index, message in enumerate(self.messages):
            for number, part in enumerate(message.content):
                if not isinstance(part, TextPart | RefusalPart):
                    yield part_path(index, number, part), part


def parse(body: Any) -> ChatRequest:
    """The request of a decoded JSON body. Raises RequestError naming the first field at fault."""
    try:
        return ChatRequest.model_validate(body)
    except ValidationError as error:
        raise strict_model.first_error(error) from None


def without_calls(request: ChatRequest) -> ChatRequest:
    """The request, where no tools are called. Raises RequestError if it has any, or calls in its messages."""
    if request.offered_tools:
        raise RequestError(tool_fields.NO_TOOLS, param="tools")
    for index, message in enumerate(request.messages):
        if message.role == "tool" or message.tool_calls:
            raise RequestError(tool_fields.NO_CALLS, param=f"messages[{index}]")
    return request


def without_optional_tools(request: ChatRequest) -> ChatRequest:
    """The request without tools that the model need not call."""
    return request if structure.is_forced(request.tool_choice) else request.model_copy(update={"tools": None})


def options_of(part: MediaPart) -> MediaOptions:
    """The options of a part, which are the value of the field named by its type."""
    options: MediaOptions = getattr(part, part.type)
    return options


def part_path(message: int, number: int, part: MediaPart) -> str:
    """The path of a part's options in the request: `messages[0].content[2].image_url`."""
    return f"messages[{message}].content[{number}].{part.type}"
