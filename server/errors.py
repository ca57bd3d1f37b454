"""What can go wrong with a request.

    ServeError
    |- RequestError            400  the request itself; `param` names the part
    |  |- ContextOverflow      400  the prompt is longer than the model's context
    |  |- LimitExceeded        400  more parts, pixels, frames, ... than the server takes
    |  |  `- BodyTooLarge      413  the HTTP body as a whole
    |  |- SlowBody             408  the HTTP body does not come
    |  |- MediaError           400  a part's media cannot be used: not an image, truncated, unknown codec, ...
    |  |  `- FetchError        400  a part's URL could not be fetched, or may not be
    |  `- Unauthorized         401  no key, or a wrong one
    |- Overloaded              429  there is no room for the request now; Retry-After says when to ask again
    |- DeadlineExceeded        504  the request was not answered in the time that the server allows
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

    def __init__(self, message: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after  # seconds

    def at(self, place: str) -> "ServeError":
        """The same error of an option that stands at a place of the request."""
        return type(self)(self.message, param=f"{place}.{self.param}", retry_after=self.retry_after)


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


class SlowBody(RequestError):
    status = 408
    code = "body_too_slow"


class MediaError(RequestError):
    code = "invalid_media"


class FetchError(MediaError):
    code = "media_not_fetched"


class Unauthorized(RequestError):
    status = 401
    code = "invalid_api_key"


class Overloaded(ServeError):
    status = 429
    type = "rate_limit_error"
    code = "overloaded"


class DeadlineExceeded(ServeError):
    status = 504
    type = "timeout_error"
    code = "deadline_exceeded"


class Unavailable(ServeError):
    status = 503
    type = "service_unavailable"
    code = "unavailable"

    def __init__(self, message: str, *, param: str | None = None, retry_after: int | None = 5) -> None:
        super().__init__(message, param=param, retry_after=retry_after)


def body(error: ServeError) -> dict[str, dict[str, str | None]]:
    """The error as OpenAI's error object."""
    return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}


def response(error: ServeError) -> JSONResponse:
    """The error as an HTTP answer."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == Unauthorized.status:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body(error), error.status, headers)
