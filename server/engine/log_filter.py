"""What vLLM logs of single requests: one line at most for a fault that a client can cause, and no stack."""

import logging

from llava_interleave_serve.server.errors import ServeError

VLLM_LOGGER = "vllm"
# These log every error inside a stream with its stack.
STREAMS = ("vllm.entrypoints.openai.chat_completion.serving", "vllm.entrypoints.openai.completion.serving")


class RequestFaults(logging.Filter):
    """Drops the records of requests that vLLM refuses, and of other errors the stack, unless vLLM's level is debug.

    The client is told of both in its stream.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, Exception) or logging.getLogger(VLLM_LOGGER).isEnabledFor(logging.DEBUG):
            return True
        from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415 - 7 s of imports

        record.msg = f"{record.getMessage()} {type(error).__name__}: {' '.join(str(error).split())[:500]}"
        record.args, record.exc_info, record.exc_text = (), None, None
        return bool(vllm_compat.create_error_response(error).error.code >= ServeError.status)


def install() -> None:
    """Makes vLLM's loggers of streams keep to it."""
    for logger in map(logging.getLogger, STREAMS):
        if not any(isinstance(each, RequestFaults) for each in logger.filters):
            logger.addFilter(RequestFaults())
