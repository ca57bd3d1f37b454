"""The wire models of a chat request: what a client may send. What is not here is refused, by name."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    ValidationError,
    model_validator,
)

from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling, PoolingMode
from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.prompt import structured_output_limits

Url = Annotated[str, StringConstraints(min_length=1)]
DEFAULT_STRIDE = 2
MOST_INTEGER = 2**63
MOST_SAID = 500  # characters of a message
PART_TYPE_STEP = 4  # in messages, 0, content, 0, image_url, image_url, url


class Strict(BaseModel):
    """A model that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PoolingOptions(Strict):
    """How the patch features of each visual of a part are pooled; not at all by default, as it was trained."""

    pooling: PoolingMode | None = None
    pool_stride: Literal[2, 3, 4] | None = None

    @model_validator(mode="after")
    def _stride_needs_pooling(self) -> "PoolingOptions":
        if self.pool_stride is not None and self.pooling in (None, "none"):
            raise ValueError("pool_stride needs pooling to be average, max or bilinear")
        return self

    @property
    def asked_pooling(self) -> Pooling | None:
        """The pooling that `pooling` and `pool_stride` ask for, if they do."""
        if self.pooling is None:
            return None
        return UNPOOLED if self.pooling == "none" else Pooling(self.pooling, self.pool_stride or DEFAULT_STRIDE)

    @property
    def pinned_pooling(self) -> Pooling | None:
        """The pooling that the client asked for in any way, if it did."""
        return self.asked_pooling


class ImageUrl(PoolingOptions):
    """`detail`: `low` is pooled by 2x2, `auto` as the checkpoint was trained; `high` (any resolution) is of checkpoints
    that have it.
    """

    url: Url
    detail: Literal["low", "auto", "high"] | None = None

    @model_validator(mode="after")
    def _one_way_to_pool(self) -> "ImageUrl":
        if self.detail == "high":
            raise ValueError("detail is 'high', but this checkpoint has no any-resolution input: use 'auto' or 'low'")
        if self.detail == "low" and self.pooling is not None:
            raise ValueError("detail 'low' and pooling both say how to pool: send one of them")
        return self

    @property
    def pinned_pooling(self) -> Pooling | None:
        """The pooling that the client asked for in any way, if it did."""
        match self.detail:
            case "low":
                return Pooling("bilinear", 2)
            case "auto":
                return self.asked_pooling or UNPOOLED
            case _:
                return self.asked_pooling


class VideoUrl(PoolingOptions):
    """A video, of which `num_frames` are sampled uniformly, or `fps` a second, between `start` and `end` (seconds)."""

    url: Url
    num_frames: Annotated[int, Field(strict=True, ge=1)] | None = None
    fps: Annotated[FiniteFloat, Field(strict=True, gt=0)] | None = None
    start: Annotated[FiniteFloat, Field(strict=True, ge=0)] | None = None
    end: Annotated[FiniteFloat, Field(strict=True, gt=0)] | None = None

    @model_validator(mode="after")
    def _one_way_to_sample(self) -> "VideoUrl":
        if self.num_frames is not None and self.fps is not None:
            raise ValueError("num_frames and fps both say how to sample: send one of them")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError("end must be after start")
        return self


class Frame(Strict):
    url: Url


class VideoFrames(PoolingOptions):
    """Frames of a video that were sampled before, in their order; of any sizes."""

    frames: Annotated[list[Frame], Field(min_length=1)]


class View(Strict):
    """One camera's view; its name, if any, is put before it as text."""

    url: Url
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class MultiView(PoolingOptions):
    """What several cameras see at once, in the order given."""

    views: Annotated[list[View], Field(min_length=1)]


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
    content: Annotated[list[Part], BeforeValidator(_as_parts, json_schema_input_type=str | list[Part])]

    @model_validator(mode="before")
    @classmethod
    def _without_empty_fields(cls, data: Any) -> Any:
        # A client that sends an answer back as it got it sends its empty fields too: `tool_calls: []`, `refusal: null`.
        return _without_nothing(data) if isinstance(data, dict) and data.get("role") == "assistant" else data

    @model_validator(mode="after")
    def _media_from_users_only(self) -> "Message":
        if self.role != "user" and any(not isinstance(part, TextPart) for part in self.content):
            raise ValueError(f"a message of role {self.role!r} may hold text only")
        return self


def _without_nothing(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name == "content" or value not in (None, [])}


# The further fields of vLLM's chat request that a client may set: they steer its own answer alone.
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
    """A chat request: OpenAI's, with the part types and options above, `max_visual_tokens`, and vLLM's sampling fields
    (`SAMPLING_FIELDS`).
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    messages: Annotated[list[Message], Field(min_length=1)]
    max_visual_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    # What vLLM reads and the server reads too, which must not be spelled so that they read it differently.
    n: Annotated[int, Field(strict=True, ge=1)] | None = None
    stream: Annotated[bool, Field(strict=True)] | None = None
    stream_options: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _known_fields_only(self) -> "ChatRequest":
        for name, value in (self.model_extra or {}).items():
            if name not in SAMPLING_FIELDS and name not in IGNORABLE_FIELDS:
                raise RequestError(f"this server has no field {name[:80]!r}", param=name[:80])
            if not _fits(value):
                raise RequestError(f"{name}: a number is too large", param=name)
            if name in structured_output_limits.FIELDS:
                structured_output_limits.check(name, value)
        return self

    @property
    def sampling(self) -> dict[str, Any]:
        """The fields that vLLM reads."""
        read = {"n": self.n, "stream": self.stream, "stream_options": self.stream_options}
        given = {name: value for name, value in (self.model_extra or {}).items() if name in SAMPLING_FIELDS}
        return given | {name: value for name, value in read.items() if value is not None}

    def media_parts(self) -> Iterator[tuple[str, MediaPart]]:
        """Every part but text, with its place: `messages[0].content[2].image_url`."""
        for at, message in enumerate(self.messages):
            for number, part in enumerate(message.content):
                if not isinstance(part, TextPart):
                    yield part_path(at, number, part), part


def _fits(value: Any) -> bool:
    """Whether a decoded JSON value holds no number beyond 64 bits, and none like 1e999, which is read as infinity."""
    match value:
        case int():
            return -MOST_INTEGER <= value < MOST_INTEGER
        case float():
            return math.isfinite(value)
        case list():
            return all(map(_fits, value))
        case dict():
            return all(map(_fits, value.values()))
        case _:
            return True


def parse(body: Any) -> ChatRequest:
    """A decoded JSON body as a request. Raises RequestError naming the first field at fault."""
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
    """The text, of which a client's own names and values make no more than a message."""
    return text if len(text) <= MOST_SAID else f"{text[:MOST_SAID]}…"


def part_path(message: int, number: int, part: MediaPart) -> str:
    """Where a part's options stand in the request."""
    return f"messages[{message}].content[{number}].{part.type}"


def _path(location: tuple[int | str, ...]) -> str:
    """Where a fault is: pydantic's path without the part's type, which it puts behind the part's number."""
    steps = [step for at, step in enumerate(location) if not (at == PART_TYPE_STEP and location[0] == "messages")]
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return path.removeprefix(".")
