"""Errors as HTTP responses with OpenAI's error object."""

from fastapi.responses import JSONResponse

from llava_interleave_serve.server.errors import EncodedBody, NotBegun, ServeError, Unauthorized


def error_body(error: ServeError) -> dict[str, dict[str, str | None]]:
    """OpenAI's error object of the error."""
    return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}


def error_response(error: ServeError) -> JSONResponse:
    """The HTTP response of the error, with Retry-After, WWW-Authenticate and Accept-Encoding where they belong.

    X-Should-Retry is read by OpenAI's clients, and by the proxy of deploy/.
    """
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, EncodedBody):
        headers["Accept-Encoding"] = "identity"
    if isinstance(error, NotBegun):
        headers["X-Should-Retry"] = "true"
    return JSONResponse(error_body(error), error.status, headers)
