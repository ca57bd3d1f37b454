"""vLLM's chat serving for prompts that this server has rendered. Sampling, streaming, logprobs and usage are vLLM's."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Any

from pydantic import PrivateAttr, ValidationError

from llava_interleave_serve.model_executor.visual import Visual
from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.engine.base import STRUCTURE_FIELDS
from llava_interleave_serve.server.engine.encoder_timing import EncoderTiming
from llava_interleave_serve.server.errors import EngineRefusal, RequestError, ServeError, Unavailable
from llava_interleave_serve.server.observability.timing import RequestTiming


class RenderedRequest(vllm_compat.ChatCompletionRequest):
    """A chat request whose prompt is token ids and visuals; vLLM's `messages` are not read."""

    _token_ids: list[int] = PrivateAttr(default_factory=list)
    _visuals: list[Visual] = PrivateAttr(default_factory=list)
    _timing: RequestTiming = PrivateAttr(default_factory=RequestTiming)

    @classmethod
    def from_prompt(
        cls, token_ids: list[int], visuals: list[Visual], sampling: dict[str, Any], timing: RequestTiming
    ) -> "RenderedRequest":
        """The request of a prompt. Raises RequestError naming the sampling field that vLLM does not take."""
        try:
            request = cls(messages=[{"role": "user", "content": ""}], **sampling)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            param = str(first["loc"][0]) if first["loc"] else None
            raise RequestError(f"{param}: {first['msg']}" if param else first["msg"], param=param) from None
        except Exception as error:
            raise to_serve_error(error) from error
        request._token_ids, request._visuals, request._timing = token_ids, visuals, timing
        return request


class RenderedChat(vllm_compat.OpenAIServingChat):
    """vLLM's chat serving with two changes: the prompt is taken as it is, and a request's phases are timed.

    Attributes:
        encoder_timing: the tower's seconds by request, if the engine measures them.

    """

    encoder_timing: EncoderTiming | None = None

    async def render_chat_request(self, request: RenderedRequest) -> Any:
        """vLLM's hook: the (empty) conversation and the engine's input, or an ErrorResponse."""
        if (error := await self._check_model(request)) is not None:
            return error
        self._preflight(request.n or 1)
        prompt: dict[str, Any] = {"prompt_token_ids": request._token_ids}
        if request._visuals:
            prompt["multi_modal_data"] = {"image": request._visuals}
        with request._timing.measure("preprocess"):
            processed = await self.renderer.process_for_engine_async(
                prompt, time.time(), tok_params=request.build_tok_params(self.model_config)
            )
        return [], [processed]

    def chat_completion_stream_generator(
        self, request: RenderedRequest, results: AsyncGenerator[Any, None], *args: Any, **options: Any
    ) -> AsyncGenerator[str, None]:
        """vLLM's hook: the events of the engine's results, which are timed on the way."""
        return super().chat_completion_stream_generator(request, self._timed(request, results), *args, **options)

    async def chat_completion_full_generator(
        self, request: RenderedRequest, results: AsyncGenerator[Any, None], *args: Any, **options: Any
    ) -> Any:
        """vLLM's hook: the answer made of the engine's results, which are timed on the way."""
        return await super().chat_completion_full_generator(request, self._timed(request, results), *args, **options)

    async def _timed(self, request: RenderedRequest, results: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """The results unchanged; the engine's phases are written to the request's timing."""
        encoder_timing = self.encoder_timing if request._visuals else None
        collecting: asyncio.Task[None] | None = None
        is_first = True
        async with contextlib.aclosing(results):
            async for result in results:
                if encoder_timing is not None and is_first:
                    collecting = encoder_timing.start_collecting()
                if result.metrics is not None and (is_first or result.finished):
                    encode_seconds = 0.0
                    if encoder_timing is not None and collecting is not None and result.finished:
                        encode_seconds = await encoder_timing.seconds_of(result.request_id, collecting)
                    _write_phases(request._timing, result.metrics, encode_seconds)
                is_first = False
                yield result

    async def answer(self, request: RenderedRequest) -> dict[str, Any] | AsyncGenerator[str, None]:
        """The whole answer, or its server-sent events. Raises ServeError."""
        try:
            answer = await self.create_chat_completion(request)
        except Exception as error:
            raise self._blame_structure(request, to_serve_error(error)) from error
        if isinstance(answer, vllm_compat.ErrorResponse):
            raise self._blame_structure(request, _from_response(answer))
        if isinstance(answer, vllm_compat.ChatCompletionResponse):
            return answer.model_dump(mode="json", exclude_none=False)
        return answer

    def _blame_structure(self, request: RenderedRequest, error: ServeError) -> ServeError:
        """A 400 of the structure field if the engine is alive and the request asked for structured output.

        A 500 of a living engine means then that the schema or grammar could not be compiled, which only the engine
        finds out: a grammar that calls itself, say, or a pattern that compiles for too long. Other errors are returned
        as they are.
        """
        fields = [name for name in STRUCTURE_FIELDS if getattr(request, name, None) is not None]
        if error.status != ServeError.status or not fields or self.engine_client.errored:
            return error
        return RequestError("no answer could be made with the structure that was asked for", param=fields[0])


def _write_phases(timing: RequestTiming, metrics: Any, encode_seconds: float) -> None:
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


def to_serve_error(error: Exception) -> ServeError:
    """The error that a client gets for an exception of vLLM's, which tells faults of the request from its own."""
    if isinstance(error, vllm_compat.EngineDeadError):
        return Unavailable("the engine has died; this server is going down")
    return _from_response(vllm_compat.create_error_response(error))


def _from_response(response: Any) -> ServeError:
    if response.error.code < ServeError.status:
        return EngineRefusal(response.error.message, param=response.error.param, status=response.error.code)
    return ServeError("the engine could not answer this request")
