"""vLLM's completion request for prompts that this server has rendered."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import PrivateAttr

from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.engine.base import TextPrompt
from llava_interleave_serve.server.engine.rendered_request import RenderedSampling
from llava_interleave_serve.server.errors import ServeError
from llava_interleave_serve.server.observability.timing import RequestTiming


class RenderedCompletion(RenderedSampling, vllm_compat.CompletionRequest):
    """A completion request whose prompts are token ids; vLLM's `prompt` is not read."""

    _prompts: Sequence[TextPrompt] = PrivateAttr(default=())
    _timing: RequestTiming = PrivateAttr(default_factory=RequestTiming)
    _cache_salt: str = PrivateAttr(default="")
    _failure: ServeError | None = PrivateAttr(default=None)

    @classmethod
    def from_sampling(cls, sampling: Mapping[str, Any]) -> Self:
        """The request without its prompts. Raises RequestError naming the sampling field that vLLM does not take."""
        return cls.made_of(prompt="x", **sampling)

    def with_prompts(self, prompts: Sequence[TextPrompt], timing: RequestTiming, cache_salt: str) -> Self:
        """The request with its prompts. cache_salt: requests of different ones share no cache entries."""
        self._prompts, self._timing, self._cache_salt = prompts, timing, cache_salt
        return self
