"""vLLM's chat serving for prompts that this server has rendered. Sampling, streaming, logprobs and usage are vLLM's."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.engine.encoder_timing import EncoderTiming
from llava_interleave_serve.server.engine.logprobs.chat_logprobs import ChatLogprobs
from llava_interleave_serve.server.engine.output_penalty import OutputPenalty
from llava_interleave_serve.server.engine.rendered_request import RenderedRequest
from llava_interleave_serve.server.engine.tool_calls.vllm_parser import HermesParser
from llava_interleave_serve.server.engine.vllm_errors import OwnErrors
from llava_interleave_serve.server.observability.timing import RequestTiming


class RenderedChat(OutputPenalty, ChatLogprobs, OwnErrors, vllm_compat.OpenAIServingChat):
    """vLLM's chat serving, with the prompt taken as it is, phases that are timed, and errors in this server's words.

    Attributes:
        encoder_timing: the tower's seconds by request, if the engine measures them.

    """

    encoder_timing: EncoderTiming | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, enable_auto_tools=True, **options)
        self.parser_cls = HermesParser

    async def render_chat_request(self, request: RenderedRequest) -> Any:
        """vLLM's hook: the (empty) conversation and the engine's input, which has the pixels alone then.

        `max_tokens` is not held against the context here, so that vLLM lowers it to what the prompt leaves.
        """
        self._preflight(request.n or 1)
        prompt: dict[str, Any] = {"prompt_token_ids": request._token_ids}
        salt = request._cache_salt
        if salt:
            prompt["cache_salt"] = salt
        if request._visuals:
            visuals = [replace(visual, cache_salt=salt) for visual in request._visuals] if salt else request._visuals
            prompt["multi_modal_data"] = {"image": visuals}
        with request._timing.measure("preprocess"):
            processed = await self.renderer.process_for_engine_async(prompt, time.time())
        request._visuals.clear()
        return [], [processed]

    def chat_completion_stream_generator(
        self, request: RenderedRequest, results: AsyncGenerator[Any, None], *args: Any, **options: Any
    ) -> AsyncGenerator[str, None]:
        """vLLM's hook: the events of the engine's results, which are timed on the way."""
        results = self._own_failures(request, self._timed(request, results))
        return super().chat_completion_stream_generator(request, results, *args, **options)

    async def chat_completion_full_generator(
        self, request: RenderedRequest, results: AsyncGenerator[Any, None], *args: Any, **options: Any
    ) -> Any:
        """vLLM's hook: the answer made of the engine's results, which are timed on the way."""
        answer = await super().chat_completion_full_generator(request, self._timed(request, results), *args, **options)
        if isinstance(answer, vllm_compat.ChatCompletionResponse):
            for choice in answer.choices:
                # A call that is cut ends by its length, as in a stream; vLLM says `tool_calls`.
                if request._finish_reasons.get(choice.index) == "length":
                    choice.finish_reason = "length"
        return answer

    async def _timed(self, request: RenderedRequest, results: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """The results, with all their choices and log probabilities; the request's timing gets the engine's phases."""
        choices = request.equal_choices(self.default_sampling_params)
        encoder_timing = self.encoder_timing if request._has_visuals else None
        collecting: asyncio.Task[None] | None = None
        is_first = True
        async with contextlib.aclosing(results):
            async for result in results:
                if encoder_timing is not None and is_first:
                    collecting = encoder_timing.start_collecting()
                encode_seconds = 0.0
                if encoder_timing is not None and collecting is not None and result.finished:
                    encode_seconds = await encoder_timing.seconds_of(result.request_id, collecting)
                if result.metrics is not None and (is_first or result.finished):  # beams have no metrics
                    write_phases(request._timing, result.metrics, encode_seconds)
                is_first = False
                await self.build_logprobs(request, result.outputs)
                if choices > 1:
                    (choice,) = result.outputs
                    result.outputs = [replace(choice, index=index) for index in range(choices)]
                request._finish_reasons.update({output.index: output.finish_reason for output in result.outputs})
                yield result

    def check(self, sampling: dict[str, Any]) -> None:
        """Raises RequestError naming the sampling field that vLLM would refuse, whatever the prompt."""
        RenderedRequest.from_sampling(sampling).check(self)

    async def answer(self, request: RenderedRequest) -> dict[str, Any] | AsyncGenerator[str, None]:
        """The whole answer, or its server-sent events. Raises ServeError."""
        self.add_penalty(request)
        return await self._own_answer(request, self.create_chat_completion(request))


def write_phases(timing: RequestTiming, metrics: Any, encode_seconds: float) -> None:
    """Writes the engine's phases from vLLM's RequestStateStats, whose timestamps are 0 until they are reached.

    encode_seconds: seconds of the tower, which runs between the scheduling of the request and its first token.
    """
    if metrics.queued_ts and metrics.scheduled_ts:
        timing.replace("queue", metrics.queued_ts, metrics.scheduled_ts)
    if metrics.scheduled_ts and metrics.first_token_ts:
        prefill = min(metrics.scheduled_ts + encode_seconds, metrics.first_token_ts)
        if encode_seconds:
            timing.replace("encode", metrics.scheduled_ts, prefill)
        timing.replace("prefill", prefill, metrics.first_token_ts)
    if metrics.first_token_ts and metrics.last_token_ts > metrics.first_token_ts:
        timing.replace("decode_tokens", metrics.first_token_ts, metrics.last_token_ts)
