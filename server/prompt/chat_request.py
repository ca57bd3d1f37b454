"""The chat request as clients may send it. A field that is not here is refused by its name."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    FiniteFloat,
    StringConstraints,
    ValidationError,
    model_validator,
)

from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling, PoolingMode
from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.prompt import field_limits
from llava_interleave_serve.server.prompt.media_url import Url

DEFAULT_STRIDE = 2
MOST_STREAM_OPTIONS = 16
MOST_MESSAGE = 500  # characters of an error message
PART_TYPE_STEP = 4  # index of the part's type in pydantic's path: messages, 0, content, 0, image_url, image_url, url


class Strict(BaseModel):
    """A model that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _with_one_unknown_field(cls, data: Any) -> Any:
        # Each unknown field is an error, and the first is all that is told.
        fields = cls.model_fields
        if not isinstance(data, dict) or len(data) <= len(fields):
            return data
        unknown = next(name for name in data if name not in fields)
        return {name: data[name] for name in (*fields, unknown) if name in data}


class PoolingOptions(Strict):
    """Pooling of the patch features of each visual of a part; none by default, as the checkpoints were trained."""

    pooling: PoolingMode | None = None
    pool_stride: Literal[2, 3, 4] | None = None

    @model_validator(mode="after")
    def _check_stride(self) -> "PoolingOptions":
        if self.pool_stride is not None and self.pooling in (None, "none"):
            raise ValueError("pool_stride needs pooling to be average, max or bilinear")
        return self

    @property
    def explicit_pooling(self) -> Pooling | None:
        """The pooling of the fields `pooling` and `pool_stride`; None without them."""
        if self.pooling is None:
            return None
        return UNPOOLED if self.pooling == "none" else Pooling(self.pooling, self.pool_stride or DEFAULT_STRIDE)

    @property
    def pinned_pooling(self) -> Pooling | None:
        """The pooling that the client chose by any field; None if it left the choice to the server."""
        return self.explicit_pooling


class ImageUrl(PoolingOptions):
    """An image. `detail`: `low` pools by 2x2, `auto` is as the checkpoint was trained, `high` is any resolution, which
    only some checkpoints have.
    """

    url: Url
    detail: Literal["low", "auto", "high"] | None = None

    @model_validator(mode="after")
    def _check_detail(self) -> "ImageUrl":
        if self.detail == "high":
            raise ValueError("detail is 'high', but this checkpoint has no any-resolution input: use 'auto' or 'low'")
        if self.detail == "low" and self.pooling is not None:
            raise ValueError("detail 'low' and pooling both say how to pool: send one of them")
        return self

    @property
    def pinned_pooling(self) -> Pooling | None:
        """The pooling that the client chose by any field; None if it left the choice to the server."""
        match self.detail:
            case "low":
                return Pooling("bilinear", 2)
            case "auto":
                return self.explicit_pooling or UNPOOLED
            case _:
                return self.explicit_pooling


class VideoUrl(PoolingOptions):
    """A video: `num_frames` are sampled uniformly, or `fps` a second, between `start` and `end` (seconds)."""

    url: Url
    num_frames: Annotated[int, Field(strict=True, ge=1)] | None = None
    fps: Annotated[FiniteFloat, Field(strict=True, gt=0)] | None = None
    start: Annotated[FiniteFloat, Field(strict=True, ge=0)] | None = None
    end: Annotated[FiniteFloat, Field(strict=True, gt=0)] | None = None

    @model_validator(mode="after")
    def _check_sampling(self) -> "VideoUrl":
        if self.num_frames is not None and self.fps is not None:
            raise ValueError("num_frames and fps both say how to sample: send one of them")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError("end must be after start")
        return self


class Frame(Strict):
    url: Url


class VideoFrames(PoolingOptions):
    """Frames of a video that the client has sampled, in their order and of any sizes."""

    frames: Annotated[list[Frame], FailFast(), Field(min_length=1)]


class View(Strict):
    """The view of one camera. A `name` is put before the view as text."""

    url: Url
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class MultiView(PoolingOptions):
    """Views of several cameras at the same moment, in the order given."""

    views: Annotated[list[View], FailFast(), Field(min_length=1)]


class TextPart(Strict):
    type: Literal["text"]
    text: str


class ImagePart(Strict):
    type: Literal["image_url"]
    image_url: ImageUrl


class VideoPart(Strict):
    type: Literal["video_url"]
    video_url: VideoUrl


class FramesPart(Strict):
    type: Literal["video_frames"]
    video_frames: VideoFrames


class ViewsPart(Strict):
    type: Literal["multi_view"]
    multi_view: MultiView


MediaOptions = ImageUrl | VideoUrl | VideoFrames | MultiView
MediaPart = ImagePart | VideoPart | FramesPart | ViewsPart
Part = Annotated[TextPart | MediaPart, Field(discriminator="type")]


def _as_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class Message(Strict):
    """One message; its content is a string or a list of parts. `developer` is OpenAI's newer name of `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[Part], FailFast(), BeforeValidator(_as_parts, json_schema_input_type=str | list[Part])]

    @model_validator(mode="before")
    @classmethod
    def _without_empty_fields(cls, data: Any) -> Any:
        # Clients send answers back as they got them, with their empty fields: `tool_calls: []`, `refusal: null`.
        return _without_empty(data) if isinstance(data, dict) and data.get("role") == "assistant" else data

    @model_validator(mode="after")
    def _check_media_is_the_users(self) -> "Message":
        if self.role != "user" and any(not isinstance(part, TextPart) for part in self.content):
            raise ValueError(f"a message of role {self.role!r} may hold text only")
        return self


def _without_empty(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name == "content" or value not in (None, [])}


# Further fields of vLLM's chat request that a client may set: they affect no answer but its own.
# fmt: off
SAMPLING_FIELDS = frozenset((
    "allowed_token_ids", "bad_words", "frequency_penalty", "ignore_eos", "include_stop_str_in_output",
    "length_penalty", "logit_bias", "logprob_token_ids", "logprobs", "max_completion_tokens", "max_tokens", "min_p",
    "min_tokens", "model", "n", "presence_penalty", "prompt_logprobs", "repetition_detection", "repetition_penalty",
    "response_format", "return_token_ids", "return_tokens_as_token_ids", "seed", "skip_special_tokens",
    "spaces_between_special_tokens", "stop", "stop_token_ids", "stream", "stream_options", "structured_outputs",
    "temperature", "top_k", "top_logprobs", "top_p", "use_beam_search",
))
# fmt: on
# OpenAI's fields that change nothing in the answer of a server like this one.
IGNORABLE_FIELDS = frozenset({"user", "metadata", "store", "safety_identifier"})


class ChatRequest(BaseModel):
    """OpenAI's chat request with the part types and options above, `max_visual_tokens`, and vLLM's sampling fields.

    The sampling fields are those of SAMPLING_FIELDS.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    messages: Annotated[list[Message], FailFast(), Field(min_length=1)]
    max_visual_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    # Fields that vLLM and this server both read: strict types, so that both read the same.
    n: Annotated[int, Field(strict=True, ge=1)] | None = None
    stream: Annotated[bool, Field(strict=True)] | None = None
    stream_options: Annotated[dict[str, Any], Field(max_length=MOST_STREAM_OPTIONS)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_fields_that_matter(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        # Of the unknown fields the first is all that is told.
        fields, unknown = {}, None
        for name, value in data.items():
            if value is None or name in IGNORABLE_FIELDS:
                continue
            if name not in SAMPLING_FIELDS and name not in cls.model_fields:
                unknown = name if unknown is None else unknown
                if name != unknown:
                    continue
            fields[name] = value
        return fields

    @model_validator(mode="after")
    def _check_further_fields(self) -> "ChatRequest":
        for name, value in (self.model_extra or {}).items():
            if name not in SAMPLING_FIELDS:
                raise RequestError(f"this server has no field {name[:80]!r}", param=name[:80])
            field_limits.check(name, value)
        return self

    @property
    def sampling(self) -> dict[str, Any]:
        """The fields that vLLM reads."""
        shared = {"n": self.n, "stream": self.stream, "stream_options": self.stream_options}
        return (self.model_extra or {}) | {name: value for name, value in shared.items() if value is not None}

    def media_parts(self) -> Iterator[tuple[str, MediaPart]]:
        """Yields every part but text, each with the path of its options: `messages[0].content[2].image_url`."""
        for index, message in enumerate(self.messages):
            for number, part in enumerate(message.content):
                if not isinstance(part, TextPart):
                    yield part_path(index, number, part), part


def parse(body: Any) -> ChatRequest:
    """The request of a decoded JSON body. Raises RequestError naming the first field at fault."""
    try:
        return ChatRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        param = _path(first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "there is no such option"
        raise RequestError(_short(f"{param or 'the body'}: {message}"), param=_short(param) or None) from None


def _short(text: str) -> str:
    """The text cut to the length of an error message, since it may quote names and values of the client."""
    return text if len(text) <= MOST_MESSAGE else f"{text[:MOST_MESSAGE]}…"


def part_path(message: int, number: int, part: MediaPart) -> str:
    """The path of a part's options in the request: `messages[0].content[2].image_url`."""
    return f"messages[{message}].content[{number}].{part.type}"


def _path(location: tuple[int | str, ...]) -> str:
    """Pydantic's path as clients write it, without the part's type that pydantic puts behind the part's number."""
    is_message = location[:1] == ("messages",)
    steps = [step for index, step in enumerate(location) if not (is_message and index == PART_TYPE_STEP)]
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return path.removeprefix(".")
