"""vLLM logs one line at most of a fault that a client can cause inside a stream."""

import inspect
import logging
from collections.abc import Iterator

import pytest
from vllm.entrypoints.openai.chat_completion import serving as chat_serving
from vllm.entrypoints.openai.completion import serving as completion_serving
from vllm.exceptions import VLLMValidationError

from llava_interleave_serve.server.engine import log_filter


@pytest.fixture(params=[chat_serving, completion_serving], ids=["chat", "completion"])
def logger(request: pytest.FixtureRequest) -> Iterator[logging.Logger]:
    """vLLM's own logger of streams, with the filter."""
    logger: logging.Logger = request.param.logger
    assert logger.name in log_filter.STREAMS
    vllm = logging.getLogger(log_filter.VLLM_LOGGER)
    propagates, level = vllm.propagate, vllm.level
    vllm.propagate = True
    vllm.setLevel(logging.ERROR)
    log_filter.install()
    log_filter.install()
    yield logger
    for each in [each for each in logger.filters if isinstance(each, log_filter.RequestFaults)]:
        logger.removeFilter(each)
    vllm.propagate = propagates
    vllm.setLevel(level)


def log(logger: logging.Logger, error: Exception) -> None:
    try:
        raise error
    except Exception:
        logger.exception("Error in chat completion stream generator.")


@pytest.mark.parametrize("error", [VLLMValidationError("no"), ValueError("no"), OverflowError("no")])
def test_a_request_that_is_refused_in_its_stream_is_not_logged(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    log(logger, error)
    assert caplog.records == []


def test_another_error_in_a_stream_is_one_line(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    log(logger, RuntimeError("a\n" * 10_000))
    (record,) = caplog.records
    assert record.getMessage().startswith("Error in chat completion stream generator. RuntimeError: a a")
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 1000
    assert record.exc_info is None


def test_at_the_level_debug_the_stack_is_logged(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger(log_filter.VLLM_LOGGER).setLevel(logging.DEBUG)
    log(logger, ValueError("no"))
    assert caplog.records[0].exc_info is not None


def test_vllm_logs_such_errors_in_this_module() -> None:
    for stream in (
        chat_serving.OpenAIServingChat.chat_completion_stream_generator,
        completion_serving.OpenAIServingCompletion.completion_stream_generator,
    ):
        assert "logger.exception(" in inspect.getsource(stream)
