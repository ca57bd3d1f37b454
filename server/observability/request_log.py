"""The id of the request in whose course a line is logged."""

import logging
from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")


class RequestFormatter(logging.Formatter):
    """Formats lines for the server's log; those of a request have its id before the message."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(asctime)s %(name)s: %(request)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        request_id = REQUEST_ID.get()
        record.request = f"[{request_id}] " if request_id else ""
        return super().format(record)
