"""vLLM's own chat serving, given prompts that we have rendered: sampling, streaming, logprobs and usage stay vLLM's."""

import time
from collections.abc import AsyncGenerator
from typing import Any

from pydantic import PrivateAttr, ValidationError

from llava_interleave_serve.model_executor.visual import Visual
from llava_interleave_serve.server import vllm_compat
from llava_interleave_serve.server.errors import RequestError, ServeError, Unavailable


class RenderedRequest(vllm_compat.ChatCompletionRequest):
    """A chat request whose prompt is token ids and visuals; its messages are not read."""

    _token_ids: list[int] = PrivateAttr(default_factory=list)
    _visuals: list[Visual] = PrivateAttr(default_factory=list)

    @classmethod
    def of(cls, token_ids: list[int], visuals: list[Visual], sampling: dict[str, Any]) -> "RenderedRequest":
        """Raises RequestError naming the sampling field that vLLM does not take."""
        try:
            request = cls(messages=[{"role": "user", "content": ""}], **sampling)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            param = str(first["loc"][0]) if first["loc"] else None
            raise RequestError(f"{param}: {first['msg']}" if param else first["msg"], param=param) from None
        except Exception as error:
            raise client_error(error) from error
        request._token_ids, request._visuals = token_ids, visuals
        return request


class RenderedChat(vllm_compat.OpenAIServingChat):
    """Chat serving whose one own step is to take the prompt as it is."""

    async def render_chat_request(self, request: RenderedRequest) -> Any:
        """VLLM's hook: the (empty) conversation and the engine's input, or an ErrorResponse."""
        if (error := await self._check_model(request)) is not None:
            return error
        self._preflight(request.n or 1)
        prompt: dict[str, Any] = {"prompt_token_ids": request._token_ids}
        if request._visuals:
            prompt["multi_modal_data"] = {"image": request._visuals}
        return [], [
            await self.renderer.process_for_engine_async(
                prompt, time.time(), tok_params=request.build_tok_params(self.model_config)
            )
        ]

    async def answer(self, request: RenderedRequest) -> dict[str, Any] | AsyncGenerator[str, None]:
        """The whole answer, or its server-sent events. Raises ServeError."""
        try:
            answer = await self.create_chat_completion(request)
            if isinstance(answer, vllm_compat.ErrorResponse):
                raise _as_serve_error(answer)
            if isinstance(answer, vllm_compat.ChatCompletionResponse):
                return answer.model_dump(mode="json", exclude_none=False)
        except ServeError:
            raise
        except Exception as error:
            raise client_error(error) from error
        return answer


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
