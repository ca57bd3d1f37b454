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
from llava_interleave_serve.server.prompt import beam_search, field_limits, neutral_fields, strict_model
from llava_interleave_serve.server.prompt.media_url import Url
from llava_interleave_serve.server.prompt.neutral_fields import MESSAGE_HINTS, PART_HINTS
from llava_interleave_serve.server.prompt.strict_model import Strict

TokenCount = Annotated[int, Field(ge=1, lt=field_limits.MOST_INTEGER)]
DEFAULT_STRIDE = 2


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
    """An image. `detail`: `auto` and `high` are the best that the checkpoint has, which is unpooled; what `low` is, the
    operator says.
    """

    url: Url
    detail: Literal["low", "auto", "high"] | None = None

    @model_validator(mode="after")
    def _check_detail(self) -> "ImageUrl":
        if self.detail == "low" and self.pooling is not None:
            raise ValueError("detail 'low' and pooling both say how to pool: send one of them")
        return self

    @property
    def pinned_pooling(self) -> Pooling | None:
        """The pooling that the client chose, by any field but `detail: low`; None if it left the choice to others."""
        return self.explicit_pooling or (UNPOOLED if self.detail in ("auto", "high") else None)


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


MediaOptions = ImageUrl | VideoUrl | VideoFrames | MultiView
MediaPart = ImagePart | VideoPart | FramesPart | ViewsPart
Part = Annotated[TextPart | RefusalPart | MediaPart, Field(discriminator="type")]


def _as_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class Message(Strict):
    """One message; its content is a string or a list of parts. `developer` is OpenAI's newer name of `system`."""

    hints = MESSAGE_HINTS
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[Part], FailFast(), BeforeValidator(_as_parts, json_schema_input_type=str | list[Part])]

    @model_validator(mode="before")
    @classmethod
    def _with_content(cls, data: Any) -> Any:
        # An assistant's message may have no content: its answer was empty.
        is_empty = isinstance(data, dict) and data.get("role") == "assistant" and data.get("content") is None
        return data | {"content": []} if is_empty else data

    @model_validator(mode="after")
    def _check_parts_are_of_the_role(self) -> "Message":
        if self.role != "user" and any(not isinstance(part, TextPart | RefusalPart) for part in self.content):
            raise ValueError(f"a message of role {self.role!r} may hold text only")
        if self.role != "assistant" and any(isinstance(part, RefusalPart) for part in self.content):
            raise ValueError(f"a message of role {self.role!r} may hold no refusal")
        return self


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


class StreamOptions(Strict):
    """What a stream also tells. `include_obfuscation` would pad the events; only its absence can be had."""

    include_usage: Annotated[bool, Field(strict=True)] | None = None
    continuous_usage_stats: Annotated[bool, Field(strict=True)] | None = None
    include_obfuscation: Literal[False] | None = None


class ChatRequest(BaseModel):
    """OpenAI's chat request with the part types and options above, `max_visual_tokens`, and vLLM's sampling fields.

    The sampling fields are those of SAMPLING_FIELDS.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    messages: Annotated[list[Message], FailFast(), Field(min_length=1)]
    max_visual_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    # Fields that this server reads too. vLLM gets what was read here, so that both read the same.
    model: str | None = None
    n: Annotated[int, Field(strict=True, ge=1)] | None = None
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    prompt_logprobs: Annotated[int, Field(strict=True, ge=0)] | None = None
    stream: Annotated[bool, Field(strict=True)] | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_fields_that_matter(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = SAMPLING_FIELDS | cls.model_fields.keys()
        fields = {}
        for name, value in data.items():
            if value is None:
                continue
            if name in known:
                fields[name] = value
            elif not neutral_fields.is_neutral(name, value, data):
                raise neutral_fields.refusal(name)
        return fields

    @model_validator(mode="after")
    def _check_further_fields(self) -> "ChatRequest":
        for name, value in (self.model_extra or {}).items():
            field_limits.check(name, value)
        if self.stream and self.prompt_logprobs is not None:
            raise RequestError("prompt_logprobs: a stream does not have them", param="prompt_logprobs")
        beam_search.check(self.sampling)
        return self

    @property
    def sampling(self) -> dict[str, Any]:
        """The fields that vLLM reads."""
        options = self.stream_options and self.stream_options.model_dump(
            exclude_none=True, exclude={"include_obfuscation"}
        )
        read = {name: getattr(self, name) for name in SAMPLING_FIELDS & type(self).model_fields.keys()}
        read["stream_options"] = options
        return (self.model_extra or {}) | {name: value for name, value in read.items() if value is not None}

    @property
    def most_tokens(self) -> int | None:
        """The most tokens that the answer is to have; None if the request does not say."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

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


def part_path(message: int, number: int, part: MediaPart) -> str:
    """The path of a part's options in the request: `messages[0].content[2].image_url`."""
    return f"messages[{message}].content[{number}].{part.type}"
