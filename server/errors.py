"""Errors of a request, each with the HTTP status and the fields of OpenAI's error object that a client gets.

    ServeError                 500  the server's own fault
    |- RequestError            400  the request itself; `param` names the part at fault
    |  |- ContextOverflow      400  the prompt is longer than the model's context
    |  |- LimitExceeded        400  more parts, pixels, frames, ... than the server takes
    |  |  `- BodyTooLarge      413  the HTTP body as a whole
    |  |- SlowBody             408  the HTTP body does not come
    |  |- EncodedBody          415  the HTTP body is compressed
    |  |- MediaError           400  a part's media cannot be used: not an image, truncated, unknown codec, ...
    |  |  `- FetchError        400  a part's URL could not be fetched, or may not be
    |  |- EngineRefusal        4xx  the engine refused the request; vLLM chose the status
    |  |- Unauthorized         401  no key, or a wrong one
    |  |- ModelNotFound        404  a model that is not served
    |  `- RouteNotFound        404  a path that is not served
    |     `- MethodNotAllowed  405  a path that is served, but not with this method
    |- Overloaded              429  there is no room for the request now; Retry-After says when to ask again
    |- ClientGone              499  the client left before its answer; nobody receives this
    |- DeadlineExceeded        504  the request was not answered in the time that the server allows
    `- Unavailable             503  the engine is starting, stopping or dead
       `- NotBegun             503  the same, and nothing was done with the request: another server may be asked

Every message is written for the client: it says what was expected and what came, and never names a path, an address or
a stack of the server. What it quotes of the request is cut to a line. This module knows nothing of HTTP libraries;
`http/error_responses.py` writes the responses.
"""

import copy
from typing import Self

MOST_MESSAGE, MOST_PARAM = 500, 200  # characters


def shorten(text: str, most: int = MOST_MESSAGE) -> str:
    """The text cut to a number of characters."""
    return text if len(text) <= most else f"{text[:most]}…"


class ServeError(Exception):
    """A response that is not 2xx.

    Attributes:
        status: HTTP status.
        type: OpenAI's `error.type`.
        code: OpenAI's `error.code`.
        message: OpenAI's `error.message`.
        param: OpenAI's `error.param`, the path of the part at fault: `messages[0].content[2].video_url.url`.
        retry_after: seconds for the Retry-After header.

    """

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        self.message = shorten(message)
        super().__init__(self.message)
        self.param = param and shorten(param, MOST_PARAM)
        self.retry_after = retry_after

    def within(self, path: str) -> Self:
        """A copy of the error whose `param`, if it names one, lies below a path of the request."""
        error = copy.copy(self)
        error.param = f"{path}.{self.param}" if self.param is not None else None
        return error


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


class EncodedBody(RequestError):
    status = 415
    code = "unsupported_content_encoding"


class MediaError(RequestError):
    code = "invalid_media"


class FetchError(MediaError):
    code = "media_not_fetched"


class EngineRefusal(RequestError):
    """The engine's own refusal of a request.

    Attributes:
        status: the HTTP status that vLLM chose, 400 to 499.

    """

    def __init__(self, message: str, *, param: str | None = None, status: int = 400) -> None:
        super().__init__(message, param=param)
        self.status = status


class Unauthorized(RequestError):
    status = 401
    code = "invalid_api_key"


class ModelNotFound(RequestError):
    status = 404
    code = "model_not_found"


class RouteNotFound(RequestError):
    status = 404
    code = "not_found"


class MethodNotAllowed(RouteNotFound):
    status = 405
    code = "method_not_allowed"


class Overloaded(ServeError):
    status = 429
    type = "rate_limit_error"
    code = "overloaded"


class ClientGone(ServeError):
    """The client has left: nginx's status 499, which nobody receives."""

    status = 499
    code = "client_gone"


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


class NotBegun(Unavailable):
    """Nothing was done with the request, which another server may answer; a request that an engine died of is none."""
