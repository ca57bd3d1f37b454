"""vLLM's requests for prompts that this server has rendered, and the checks that need no prompt."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import PrivateAttr, ValidationError

from llava_interleave_serve.model_executor.visual import Visual
from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.engine.base import STRUCTURE_FIELDS
from llava_interleave_serve.server.engine.tool_calls import structure
from llava_interleave_serve.server.engine.vllm_errors import to_serve_error
from llava_interleave_serve.server.errors import LimitExceeded, RequestError, ServeError
from llava_interleave_serve.server.observability.timing import RequestTiming


class RenderedSampling:
    """What vLLM's chat and completion requests have in common here; mixed into them."""

    _failure: ServeError | None
    n: int | None
    temperature: float | None
    use_beam_search: bool
    model_fields_set: set[str]

    @classmethod
    def made_of(cls, **fields: Any) -> Self:
        """The request without its prompt. Raises RequestError naming the sampling field that vLLM does not take."""
        try:
            return cls(**fields)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            param = str(first["loc"][0]) if first["loc"] else None
            raise RequestError(f"{param}: {first['msg']}" if param else first["msg"], param=param) from None
        except Exception as error:
            raise to_serve_error(error) from error

    @property
    def structure_field(self) -> str | None:
        """The field of the client's that asks for a structure; None without one."""
        return next((name for name in STRUCTURE_FIELDS if _asks_for_structure(getattr(self, name, None))), None)

    def take_failure(self) -> ServeError:
        """What its stream failed of. No longer kept then, since an error refers to the frames that refer to this."""
        failure, self._failure = self._failure, None
        return failure or ServeError("the engine could not answer this request")

    def equal_choices(self, defaults: Mapping[str, Any]) -> int:
        """The number of choices that are the same text, since each token is the likeliest; 1 if they are sampled.

        defaults: vLLM's own sampling parameters for this model.
        """
        temperature = self.temperature if self.temperature is not None else defaults.get("temperature")
        return self.n or 1 if temperature == 0 and not self.use_beam_search else 1

    def to_sampling_params(self, max_tokens: int, default_sampling_params: dict[str, Any]) -> Any:
        """vLLM's hook: its SamplingParams, of one choice where all are equal: it refuses several."""
        made: Any = super()
        if self.equal_choices(default_sampling_params) == 1:
            return made.to_sampling_params(max_tokens, default_sampling_params)
        one: Any = made.model_copy(update={"n": 1})
        return one.to_sampling_params(max_tokens, default_sampling_params)

    @property
    def asked_tokens(self) -> int | None:
        """The most tokens that the answer is to have; None if the request does not say."""
        fields = vars(self)  # as an attribute, a chat's `max_tokens` warns that it is deprecated
        newer: int | None = fields.get("max_completion_tokens")
        older: int | None = fields["max_tokens"]
        return older if newer is None else newer

    def check(self, serving: Any) -> None:
        """Raises RequestError for sampling that vLLM would refuse once it had the prompt, whatever the prompt.

        serving: vLLM's, of chats or of completions.
        """
        config, tokenizer = serving.engine_client.vllm_config, serving.renderer.tokenizer
        max_tokens = vllm_compat.get_max_tokens(
            config.model_config.max_model_len,
            self.asked_tokens,
            1,  # token of a prompt, at least
            serving.default_sampling_params,
            serving.override_max_tokens,
        )
        try:
            if self.use_beam_search:
                # As vLLM's beam search makes them: of each step it needs twice the beams' number of tokens.
                params = vllm_compat.SamplingParams(logprobs=2 * (self.n or 1), temperature=self.temperature or 0)
            else:
                params = self.to_sampling_params(max_tokens, serving.default_sampling_params)
            params.verify(config.model_config, config.speculative_config, config.structured_outputs_config, tokenizer)
            params.update_from_tokenizer(tokenizer)
        except Exception as error:
            raise self._of_field(to_serve_error(error)) from error
        tokens, most = sum(map(len, params.bad_words_token_ids or ())), vllm_compat.most_bad_word_tokens()
        if tokens > most:
            raise LimitExceeded(f"bad_words take {tokens} tokens, more than the {most} allowed", param="bad_words")

    def _of_field(self, refusal: ServeError) -> ServeError:
        """The refusal of vLLM's SamplingParams, of the field that the client sent."""
        if refusal.param is None:
            first_word = refusal.message.partition(" ")[0].partition(".")[0]
            refusal.param = first_word if first_word in self.model_fields_set else None
        return refusal


class RenderedRequest(RenderedSampling, vllm_compat.ChatCompletionRequest):
    """A chat request whose prompt is token ids and visuals; vLLM's `messages` are not read."""

    _token_ids: list[int] = PrivateAttr(default_factory=list)
    _visuals: list[Visual] = PrivateAttr(default_factory=list)
    _has_visuals: bool = PrivateAttr(default=False)
    _timing: RequestTiming = PrivateAttr(default_factory=RequestTiming)
    _cache_salt: str = PrivateAttr(default="")
    _failure: ServeError | None = PrivateAttr(default=None)
    _holds_calls: bool = PrivateAttr(default=False)
    _finish_reasons: dict[int, str | None] = PrivateAttr(default_factory=dict)

    @classmethod
    def from_sampling(cls, sampling: Mapping[str, Any]) -> Self:
        """The request without its prompt. Raises RequestError naming the sampling field that vLLM does not take."""
        request = cls.made_of(messages=[{"role": "user", "content": ""}], **sampling)
        request._hold_calls(sampling.get("tools", ()))
        return request

    def _hold_calls(self, tools: Sequence[Mapping[str, Any]]) -> None:
        """Has a structure keep what the tools and the choice among them demand of calls."""
        choice = "required" if self.is_forced_call else self.tool_choice
        if held := structure.call_structure(tools, choice) if tools else None:
            self.structured_outputs = vllm_compat.StructuredOutputsParams(**held)
            self._holds_calls = True

    @property
    def is_forced_call(self) -> bool:
        """True if the answer is one call and nothing else."""
        return bool(self.tools) and self.tool_choice not in (None, "none", "auto")

    @property
    def structure_field(self) -> str | None:
        """The field of the client's that asks for a structure; None without one."""
        return "tools" if self._holds_calls else super().structure_field

    def with_prompt(
        self, token_ids: list[int], visuals: list[Visual], timing: RequestTiming, cache_salt: str
    ) -> "RenderedRequest":
        """The request with its prompt.

        visuals: emptied once vLLM has them. cache_salt: requests of different ones share no cache entries.
        """
        self._token_ids, self._visuals, self._timing, self._cache_salt = token_ids, visuals, timing, cache_salt
        self._has_visuals = bool(visuals)
        return self

    def _of_field(self, refusal: ServeError) -> ServeError:
        """The refusal of vLLM's SamplingParams, of the field that the client sent."""
        if refusal.param == "logprobs":  # vLLM's parameter is the number of them
            if self.use_beam_search:
                return RequestError(f"n is {self.n}: too many for beam search here", param="n")
            refusal.param = "top_logprobs"
        elif self._holds_calls and refusal.param in (None, "structured_outputs"):
            refusal.param = "tools"
        return super()._of_field(refusal)


def _asks_for_structure(field: Any) -> bool:
    """True for a field of STRUCTURE_FIELDS that asks for more than text."""
    return field is not None and getattr(field, "type", None) != "text"
