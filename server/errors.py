"""What can go wrong with a request.

    ServeError
    |- RequestError            400  the request itself; `param` names the part
    |  |- ContextOverflow      400  the prompt is longer than the model's context
    |  |- LimitExceeded        400  more parts, pixels, frames, ... than the server takes
    |  |  `- BodyTooLarge      413  the HTTP body as a whole
    |  |- MediaError           400  a part's media cannot be used: not an image, truncated, unknown codec, ...
    |  |  `- FetchError        400  a part's URL could not be fetched, or may not be
    |  `- Unauthorized         401  no key, or a wrong one
    `- Unavailable             503  the engine is starting, stopping or dead

Every message is written for the client: it says what was expected and what came, and never a path, an address or a
stack of the server.
"""

from fastapi.responses import JSONResponse


class ServeError(Exception):
    """An answer that is not 2xx. `status`, `type` and `code` follow OpenAI's error object."""

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class RequestError(ServeError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class ContextOverflow(RequestError):
    code = "context_length_exceeded"


class LimitExceeded(RequestError):
    code = "limit_exceeded"


class BodyTooLarge(LimitExceeded):
    status = 413
    code = "body_too_large"


class MediaError(RequestError):
    code = "invalid_media"


class FetchError(MediaError):
    code = "media_not_fetched"


class Unauthorized(RequestError):
    status = 401
    code = "invalid_api_key"


class Unavailable(ServeError):
    status = 503
    type = "service_unavailable"
    code = "unavailable"


def body(error: ServeError) -> dict[str, dict[str, str | None]]:
    """The error as OpenAI's error object."""
    return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}


def response(error: ServeError) -> JSONResponse:
    """The error as an HTTP answer."""
    headers = {"Retry-After": "5"} if error.status == Unavailable.status else {}
    if error.status == Unauthorized.status:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body(error), error.status, headers)
