"""The completion request as clients may send it: prompts of text or token ids, without a conversation around them."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, FailFast, Field, ValidationError, model_validator

from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.prompt import field_limits, neutral_fields, strict_model
from llava_interleave_serve.server.prompt.sampling_request import SAMPLING_FIELDS, SamplingRequest

TokenId = Annotated[int, Field(strict=True, ge=0, lt=field_limits.MOST_INTEGER)]
Prompt = str | list[TokenId]
DEFAULT_TOKENS = 16  # of an answer whose request does not say, as OpenAI and vLLM have it


def _prompts(value: Any) -> Any:
    """The prompts as a list, each of which is a text or a list of token ids. Raises RequestError for anything else."""
    if isinstance(value, str) or (isinstance(value, list) and value and all(type(item) is int for item in value)):
        value = [value]
    if not isinstance(value, list) or not value:
        raise RequestError("prompt must be a text, a list of texts, token ids, or a list of these", param="prompt")
    for index, prompt in enumerate(value):
        if not prompt or not (isinstance(prompt, str) or _is_token_ids(prompt)):
            raise RequestError("a prompt must be a text or token ids, and not empty", param=param_of(value, index))
    return value


def _is_token_ids(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item < field_limits.MOST_INTEGER for item in value
    )


class CompletionRequest(SamplingRequest):
    """OpenAI's completion request with vLLM's sampling fields, those of `sampling_fields`."""

    sampling_fields = (SAMPLING_FIELDS | {"echo"}) - {"use_beam_search", "length_penalty"}
    hints = frozenset({"add_special_tokens"})  # these tokenisers add none
    neutral = neutral_fields.COMPLETION_FIELDS

    prompt: Annotated[list[Prompt], FailFast(), BeforeValidator(_prompts, json_schema_input_type=Prompt | list[Prompt])]
    max_tokens: Annotated[int, Field(strict=True, ge=0, lt=field_limits.MOST_INTEGER)] | None = None
    logprobs: Annotated[int, Field(strict=True, ge=0)] | None = None
    echo: Annotated[bool, Field(strict=True)] | None = None

    @model_validator(mode="after")
    def _check_echo(self) -> "CompletionRequest":
        if self.stream and self.echo and self.logprobs is not None:
            raise RequestError("logprobs of a prompt that is echoed are not for streams", param="logprobs")
        if self.echo and self.sampling.get("return_token_ids"):  # vLLM echoes no text then, and says nothing
            raise RequestError(
                "a prompt is not echoed beside return_token_ids, which gives its tokens: leave one of the two out",
                param="echo",
            )
        return self

    @property
    def prompt_logprobs_each(self) -> int | None:
        """Log probabilities that are asked for of each token of the prompts; None if there are to be none."""
        return self.logprobs if self.prompt_logprobs is None and self.echo else self.prompt_logprobs


def parse(body: Any) -> CompletionRequest:
    """The request of a decoded JSON body. Raises RequestError naming the first field at fault."""
    try:
        return CompletionRequest.model_validate(body)
    except ValidationError as error:
        raise strict_model.first_error(error) from None


def param_of(prompts: Sequence[Any], index: int) -> str:
    """The name of a prompt in the request: `prompt`, or `prompt[1]` among several."""
    return "prompt" if len(prompts) == 1 else f"prompt[{index}]"
