"""The answers of the routes, as the OpenAPI document describes them. Nothing is validated by these at run time."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """An object that may have further fields: those that vLLM adds when a request asks for them."""

    model_config = ConfigDict(extra="allow")


class ErrorDetail(BaseModel):
    """OpenAI's `error`; `param` names the part of the request that is at fault."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's error object."""

    error: ErrorDetail


class AlternativeToken(Answer):
    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(AlternativeToken):
    """The log probability of a token of the answer; of control tokens `bytes` are empty."""

    top_logprobs: list[AlternativeToken] = []


class Logprobs(Answer):
    content: list[TokenLogprob] | None = None


class PromptTokensDetails(Answer):
    """`cached_tokens`: tokens of the prompt that an earlier request of the same key had prefilled."""

    cached_tokens: int | None = None


class Usage(Answer):
    """Tokens of the prompt, visual ones among them, and of the answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None


class Sampled(BaseModel):
    """The frames of a video that the model was shown: their numbers, and times, duration and rate by seconds."""

    frames: list[int]
    times: list[float]
    duration: float
    fps: float


class PartUsage(Answer):
    """What a part of the request became. `param`: its path in the request."""

    param: str
    type: Literal["image_url", "video_url", "video_frames", "multi_view"]
    visuals: int
    tokens: int
    pooling: Literal["none", "average", "max", "bilinear"]
    pool_stride: int
    views: Annotated[int | None, Field(description="Of an image through any resolution: what the tower encodes.")] = (
        None
    )
    size: Annotated[list[int] | None, Field(description="Of the same: width and height in pixels.")] = None
    low_detail: Annotated[
        Literal["pool", "ignore"] | None, Field(description="What was made of `detail: low`; absent without it.")
    ] = None
    sampled: Annotated[Sampled | None, Field(description="Of videos, once they have been read.")] = None


class MediaUsage(Answer):
    """Visuals and their tokens, in all and by part."""

    visuals: int
    visual_tokens: int
    parts: list[PartUsage]


class AssistantMessage(Answer):
    role: Literal["assistant"]
    content: str | None = None


class Choice(Answer):
    index: int
    message: AssistantMessage
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class ChatCompletion(Answer):
    """OpenAI's `chat.completion`, with `media_usage`. What an answer does not have is left out, and never null."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    media_usage: MediaUsage


class Delta(Answer):
    role: str | None = None
    content: str | None = None


class ChunkChoice(Answer):
    index: int
    delta: Delta
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class ChatCompletionChunk(Answer):
    """An event of a stream: OpenAI's `chat.completion.chunk`.

    The first also has `media_usage`, the last `server_timing`. An event of an error has OpenAI's error object instead.
    """

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    media_usage: MediaUsage | None = None
    server_timing: Annotated[
        dict[str, float] | None, Field(description="Milliseconds of the request's phases, and their `total`.")
    ] = None


class CompletionLogprobs(Answer):
    """The log probabilities of a completion's tokens, as lists of the same length."""

    text_offset: list[int]
    token_logprobs: list[float | None]
    tokens: list[str]
    top_logprobs: list[dict[str, float] | None]


class CompletionChoice(Answer):
    index: int
    text: str
    finish_reason: str | None = None
    logprobs: CompletionLogprobs | None = None


class Completion(Answer):
    """OpenAI's `text_completion`."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class CompletionChunk(Answer):
    """An event of a stream: OpenAI's `text_completion`, with what has been written since the last event."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    server_timing: Annotated[
        dict[str, float] | None, Field(description="Milliseconds of the request's phases, and their `total`.")
    ] = None


class TokenIds(BaseModel):
    """The tokens of a prompt. `token_strs`: their texts, if the request asks for them."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class Detokenized(BaseModel):
    prompt: str


class Version(BaseModel):
    version: str


class Plan(BaseModel):
    """What a request would cost. `exact`: false if a video may turn out shorter than planned, or an image smaller."""

    object: Literal["chat.completion.plan"]
    model: str
    prompt_tokens: int
    max_tokens: Annotated[int, Field(description="The most tokens that the answer can have.")]
    max_model_len: int
    fits: Annotated[bool, Field(description="True if the prompt leaves room for an answer.")]
    exact: bool
    visuals: int
    visual_tokens: int
    parts: list[PartUsage]


class ModelCard(Answer):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: Annotated[int, Field(description="Tokens of the context.")]
    tokens_per_visual: Annotated[int, Field(description="Tokens of an unpooled visual.")]
    prompt_style: str
    prompt_styles: list[str]
    sampling_defaults: Annotated[dict[str, Any], Field(description="What a request that does not say is sampled with.")]


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelCard]


class Status(BaseModel):
    status: str


def described(model: type[BaseModel], description: str, **content: Any) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers with 200. content: examples and other content types."""
    return {200: {"model": model, "description": description, **content}}
