"""What requests for text have in common, chats and completions: sampling, and how much of an answer is wanted."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.prompt import beam_search, field_limits, neutral_fields
from llava_interleave_serve.server.prompt.strict_model import Strict

TokenCount = Annotated[int, Field(ge=1, lt=field_limits.MOST_INTEGER)]
# Further fields of vLLM's requests that a client may set: they affect no answer but its own.
# fmt: off
SAMPLING_FIELDS = frozenset((
    "allowed_token_ids", "bad_words", "frequency_penalty", "ignore_eos", "include_stop_str_in_output",
    "length_penalty", "logit_bias", "logprob_token_ids", "logprobs", "max_tokens", "min_p", "min_tokens", "model", "n",
    "presence_penalty", "prompt_logprobs", "repetition_detection", "repetition_penalty", "response_format",
    "return_token_ids", "return_tokens_as_token_ids", "seed", "skip_special_tokens", "spaces_between_special_tokens",
    "stop", "stop_token_ids", "stream", "stream_options", "structured_outputs", "temperature", "top_k", "top_p",
    "use_beam_search",
))
# fmt: on


def _boolean(value: Any) -> Any:
    if not isinstance(value, bool):  # a literal would take 0 for false
        raise ValueError("Input should be false")
    return value


class StreamOptions(Strict):
    """What a stream also tells. `include_obfuscation` would pad the events; only its absence can be had."""

    include_usage: Annotated[bool, Field(strict=True)] | None = None
    continuous_usage_stats: Annotated[bool, Field(strict=True)] | None = None
    include_obfuscation: Annotated[Literal[False], BeforeValidator(_boolean)] | None = None


class SamplingRequest(BaseModel):
    """vLLM's sampling fields, those of `sampling_fields`. A field that is not known is refused by its name.

    Attributes:
        sampling_fields: the fields that vLLM reads too. It gets what was read here, so that both read the same.
        hints: further fields that change nothing.
        neutral: further fields, and the values at which they ask for nothing.

    """

    model_config = ConfigDict(extra="allow", frozen=True)
    sampling_fields: ClassVar[frozenset[str]] = SAMPLING_FIELDS
    hints: ClassVar[frozenset[str]] = frozenset()
    neutral: ClassVar[Mapping[str, neutral_fields.Neutral]] = neutral_fields.FIELDS

    model: str | None = None
    n: Annotated[int, Field(strict=True, ge=1)] | None = None
    prompt_logprobs: Annotated[int, Field(strict=True, ge=0)] | None = None
    stream: Annotated[bool, Field(strict=True)] | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_fields_that_matter(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = cls.sampling_fields | cls.model_fields.keys()
        fields = {}
        for name, value in data.items():
            if value is None or name in cls.hints:
                continue
            if name in known:
                fields[name] = value
            elif not neutral_fields.is_neutral(name, value, data, cls.neutral):
                raise neutral_fields.refusal(name, cls.neutral)
        return fields

    @model_validator(mode="after")
    def _check_sampling(self) -> "SamplingRequest":
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
        read = {name: getattr(self, name) for name in self.sampling_fields & type(self).model_fields.keys()}
        read["stream_options"] = options
        return (self.model_extra or {}) | {name: value for name, value in read.items() if value is not None}
