"""The errors that clients get for the exceptions, error responses and error events of vLLM."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.errors import (
    EngineRefusal,
    Overloaded,
    RequestError,
    ServeError,
    Unavailable,
    shorten,
)

RETRY_AFTER = 5  # seconds; vLLM tells nothing of how long its queue is
ERROR_EVENT = 'data: {"error"'


def to_serve_error(error: Exception) -> ServeError:
    """The error that a client gets for an exception of vLLM's, which tells faults of the request from its own."""
    if isinstance(error, ServeError):
        return error
    if isinstance(error, vllm_compat.EngineDeadError):
        return Unavailable("the engine has died; this server is going down")
    if isinstance(error, vllm_compat.GracefulHTTPError):  # of --max-num-queued-reqs and --max-num-queued-tokens
        return Overloaded("the engine's queue is full; ask again later", retry_after=RETRY_AFTER)
    # The message may quote megabytes of the request, on which vLLM's search for paths would run for hours.
    error.args = (shorten(str(error.args[0])),) if error.args else ()
    if isinstance(error, vllm_compat.VLLMValidationError):
        error.value = None
    return from_response(vllm_compat.create_error_response(error))


def from_response(response: Any) -> ServeError:
    """The same for vLLM's ErrorResponse."""
    if response.error.code < ServeError.status:
        param = response.error.param
        message = response.error.message.removesuffix(f" (parameter={param})")
        return EngineRefusal(message, param=param, status=response.error.code)
    if response.error.code == Unavailable.status:
        return Unavailable("the engine cannot answer this request now; ask again later")
    return ServeError("the engine could not answer this request")


class OwnErrors:
    """Mixed into vLLM's serving of chats and completions: failures in this server's words, not in vLLM's."""

    engine_client: Any

    async def _own_failures(self, request: Any, results: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """The results of a stream. A failure is kept for `_events`: vLLM makes an event of it, in its own words."""
        try:
            async with contextlib.aclosing(results):
                async for result in results:
                    of_engine = result[1] if isinstance(result, tuple) else result
                    if any(output.finish_reason == "error" for output in of_engine.outputs):
                        raise ServeError("the engine could not answer this request")
                    yield result
        except Exception as error:
            request._failure = self._blame_structure(request, to_serve_error(error))
            raise vllm_compat.GenerationError from error

    async def _events(self, request: Any, events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        """The events of a stream. Raises the ServeError that an event of vLLM's tells of."""
        async with contextlib.aclosing(events):
            async for event in events:
                if event.startswith(ERROR_EVENT):
                    raise request.take_failure()
                yield event

    async def _own_answer(self, request: Any, answering: Any) -> dict[str, Any] | AsyncGenerator[str, None]:
        """The whole answer, or its server-sent events. answering: vLLM's coroutine of it. Raises ServeError."""
        try:
            answer = await answering
        except Exception as error:
            raise self._blame_structure(request, to_serve_error(error)) from error
        if isinstance(answer, vllm_compat.ErrorResponse):
            raise self._blame_structure(request, from_response(answer))
        if isinstance(answer, AsyncGenerator):
            return self._events(request, answer)
        return await self._dumped(answer)

    async def _dumped(self, answer: Any) -> dict[str, Any]:
        """The answer as JSON has it."""
        dumped: dict[str, Any] = answer.model_dump(mode="json", exclude_none=True)
        return dumped

    def _blame_structure(self, request: Any, error: ServeError) -> ServeError:
        """A 400 of the structure field if the engine is alive and the request asked for structured output.

        A 500 of a living engine means then that the schema or grammar could not be compiled, which only the engine
        finds out: a grammar that calls itself, say, or a pattern that compiles for too long. Other errors are returned
        as they are.
        """
        field = request.structure_field
        if error.status != ServeError.status or field is None or self.engine_client.errored:
            return error
        return RequestError("no answer could be made with the structure that was asked for", param=field)
