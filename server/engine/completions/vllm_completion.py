"""vLLM's completion serving for prompts that this server has rendered."""

import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.engine.completions.rendered_completion import RenderedCompletion
from llava_interleave_serve.server.engine.output_penalty import OutputPenalty
from llava_interleave_serve.server.engine.vllm_chat import write_phases
from llava_interleave_serve.server.engine.vllm_errors import OwnErrors


class RenderedCompletions(OutputPenalty, OwnErrors, vllm_compat.OpenAIServingCompletion):
    """vLLM's completion serving, with the prompts taken as they are, phases that are timed, and errors in own words."""

    async def render_completion_request(self, request: RenderedCompletion) -> list[Any]:
        """vLLM's hook: the engine's inputs. `max_tokens` is not held against the context: vLLM lowers it."""
        self._preflight((request.n or 1) * len(request._prompts))
        salt = {"cache_salt": request._cache_salt} if request._cache_salt else {}
        return [
            await self.renderer.process_for_engine_async(
                {"prompt_token_ids": prompt.token_ids, "prompt": prompt.text, **salt}, time.time()
            )
            for prompt in request._prompts
        ]

    def completion_stream_generator(
        self,
        request: RenderedCompletion,
        engine_inputs: Any,
        results: AsyncGenerator[Any, None],
        *args: Any,
        **options: Any,
    ) -> AsyncGenerator[str, None]:
        """vLLM's hook: the events of the engine's results, which are timed on the way."""
        results = self._own_failures(request, self._timed(request, results))
        events: AsyncGenerator[str, None] = super().completion_stream_generator(
            request, engine_inputs, results, *args, **options
        )
        return events

    def request_output_to_completion_response(
        self, results: list[Any], request: RenderedCompletion, *args: Any, **options: Any
    ) -> Any:
        """vLLM's hook: the whole answer of the engine's results."""
        for result in results:
            self._complete(request, result)
        return super().request_output_to_completion_response(results, request, *args, **options)

    async def _timed(
        self, request: RenderedCompletion, results: AsyncGenerator[tuple[int, Any], None]
    ) -> AsyncGenerator[tuple[int, Any], None]:
        async with contextlib.aclosing(results):
            async for number, result in results:
                self._complete(request, result)
                yield number, result

    def _complete(self, request: RenderedCompletion, result: Any) -> None:
        """Gives the result all its choices, and writes the engine's phases to the request's timing.

        Of several prompts the phases are those of the one that the engine told of last.
        """
        if result.metrics is not None:
            write_phases(request._timing, result.metrics, 0.0)
        choices = request.equal_choices(self.default_sampling_params)
        if choices > 1:
            (choice,) = result.outputs
            result.outputs = [replace(choice, index=index) for index in range(choices)]

    def check(self, sampling: dict[str, Any]) -> None:
        """Raises RequestError naming the sampling field that vLLM would refuse, whatever the prompt."""
        RenderedCompletion.from_sampling(sampling).check(self)

    async def answer(self, request: RenderedCompletion) -> dict[str, Any] | AsyncGenerator[str, None]:
        """The whole answer, or its server-sent events. Raises ServeError."""
        self.add_penalty(request)
        return await self._own_answer(request, self.create_completion(request))
