"""vLLM's own chat serving, given prompts that we have rendered: sampling, streaming, logprobs and usage stay vLLM's."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Any

from pydantic import PrivateAttr, ValidationError

from llava_interleave_serve.model_executor.visual import Visual
from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.engine.encoder_timing import EncoderClock
from llava_interleave_serve.server.errors import RequestError, ServeError, Unavailable
from llava_interleave_serve.server.observability.timing import Phases
from llava_interleave_serve.server.prompt.structured_output_limits import FIELDS


class RenderedRequest(vllm_compat.ChatCompletionRequest):
    """A chat request whose prompt is token ids and visuals; its messages are not read."""

    _token_ids: list[int] = PrivateAttr(default_factory=list)
    _visuals: list[Visual] = PrivateAttr(default_factory=list)
    _phases: Phases = PrivateAttr(default_factory=Phases)

    @classmethod
    def of(
        cls, token_ids: list[int], visuals: list[Visual], sampling: dict[str, Any], phases: Phases
    ) -> "RenderedRequest":
        """Raises RequestError naming the sampling field that vLLM does not take."""
        try:
            request = cls(messages=[{"role": "user", "content": ""}], **sampling)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            param = str(first["loc"][0]) if first["loc"] else None
            raise RequestError(f"{param}: {first['msg']}" if param else first["msg"], param=param) from None
        except Exception as error:
            raise client_error(error) from error
        request._token_ids, request._visuals, request._phases = token_ids, visuals, phases
        return request


class RenderedChat(vllm_compat.OpenAIServingChat):
    """Chat serving whose own steps are to take the prompt as it is, and to keep the phases of a request.

    encoder_clock: tells how long the tower was at a request, if the engine measures it.
    """

    encoder_clock: EncoderClock | None = None

    async def render_chat_request(self, request: RenderedRequest) -> Any:
        """vLLM's hook: the (empty) conversation and the engine's input, or an ErrorResponse."""
        if (error := await self._check_model(request)) is not None:
            return error
        self._preflight(request.n or 1)
        prompt: dict[str, Any] = {"prompt_token_ids": request._token_ids}
        if request._visuals:
            prompt["multi_modal_data"] = {"image": request._visuals}
        with request._phases.measure("preprocess"):
            processed = await self.renderer.process_for_engine_async(
                prompt, time.time(), tok_params=request.build_tok_params(self.model_config)
            )
        return [], [processed]

    def chat_completion_stream_generator(
        self, request: RenderedRequest, results: AsyncGenerator[Any, None], *args: Any, **options: Any
    ) -> AsyncGenerator[str, None]:
        """vLLM's hook: the events of the engine's results, whose phases are kept on the way."""
        return super().chat_completion_stream_generator(request, self._measured(request, results), *args, **options)

    async def chat_completion_full_generator(
        self, request: RenderedRequest, results: AsyncGenerator[Any, None], *args: Any, **options: Any
    ) -> Any:
        """vLLM's hook: the answer out of the engine's results, whose phases are kept on the way."""
        return await super().chat_completion_full_generator(request, self._measured(request, results), *args, **options)

    async def _measured(
        self, request: RenderedRequest, results: AsyncGenerator[Any, None]
    ) -> AsyncGenerator[Any, None]:
        clock = self.encoder_clock if request._visuals else None
        asking: asyncio.Task[None] | None = None
        is_first = True
        async with contextlib.aclosing(results):
            async for result in results:
                if clock is not None and is_first:
                    asking = clock.ask()
                if result.metrics is not None and (is_first or result.finished):
                    encoded = 0.0
                    if clock is not None and asking is not None and result.finished:
                        encoded = await clock.seconds_of(result.request_id, asking)
                    _write(request._phases, result.metrics, encoded)
                is_first = False
                yield result

    async def answer(self, request: RenderedRequest) -> dict[str, Any] | AsyncGenerator[str, None]:
        """The whole answer, or its server-sent events. Raises ServeError."""
        try:
            answer = await self.create_chat_completion(request)
        except Exception as error:
            raise self._blamed(request, client_error(error)) from error
        if isinstance(answer, vllm_compat.ErrorResponse):
            raise self._blamed(request, _as_serve_error(answer))
        if isinstance(answer, vllm_compat.ChatCompletionResponse):
            return answer.model_dump(mode="json", exclude_none=False)
        return answer

    def _blamed(self, request: RenderedRequest, error: ServeError) -> ServeError:
        """The error, or the request's own fault: what a live engine fails at where a structure was asked for is that
        structure, say a grammar that calls itself or a pattern that compiles for too long; only the engine finds out.
        """
        asked = [name for name in FIELDS if getattr(request, name, None) is not None]
        if error.status != ServeError.status or not asked or self.engine_client.errored:
            return error
        return RequestError("no answer could be made with the structure that was asked for", param=asked[0])


def _write(phases: Phases, metrics: Any, encoded: float) -> None:
    """The engine's phases out of its RequestStateStats, whose moments are 0 until they have come.

    encoded: seconds of the tower, which works between the request's being scheduled and its first token.
    """
    if metrics.queued_ts and metrics.scheduled_ts:
        phases.replace("queue", metrics.queued_ts, metrics.scheduled_ts)
    if metrics.scheduled_ts and metrics.first_token_ts:
        prefill = min(metrics.scheduled_ts + encoded, metrics.first_token_ts)
        if encoded:
            phases.replace("encode", metrics.scheduled_ts, prefill)
        phases.replace("prefill", prefill, metrics.first_token_ts)
    if metrics.first_token_ts and metrics.last_token_ts > metrics.first_token_ts:
        phases.replace("decode_tokens", metrics.first_token_ts, metrics.last_token_ts)


def client_error(error: Exception) -> ServeError:
    """What vLLM's exception is to a client: vLLM tells faults of the request from its own."""
    if isinstance(error, vllm_compat.EngineDeadError):
        return Unavailable("the engine has died; this server is going down")
    return _as_serve_error(vllm_compat.create_error_response(error))


def _as_serve_error(answer: Any) -> ServeError:
    if answer.error.code < 500:
        refusal = RequestError(answer.error.message, param=answer.error.param)
        refusal.status = answer.error.code
        return refusal
    return ServeError("the engine could not answer this request")
