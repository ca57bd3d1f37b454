"""The errors that clients get for the exceptions and error responses of vLLM."""

from typing import Any

from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.errors import EngineRefusal, ServeError, Unavailable, shorten


def to_serve_error(error: Exception) -> ServeError:
    """The error that a client gets for an exception of vLLM's, which tells faults of the request from its own."""
    if isinstance(error, ServeError):
        return error
    if isinstance(error, vllm_compat.EngineDeadError):
        return Unavailable("the engine has died; this server is going down")
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
    return ServeError("the engine could not answer this request")
