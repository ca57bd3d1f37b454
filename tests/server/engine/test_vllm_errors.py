"""The errors that clients get for those of vLLM: short, in time, and of the field at fault."""

import time
from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest
from vllm.exceptions import MaxQueuedTokensError, QueueOverflowError

from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.engine.rendered_request import RenderedRequest
from llava_interleave_serve.server.engine.vllm_errors import OwnErrors, from_response, to_serve_error
from llava_interleave_serve.server.errors import EngineRefusal, Overloaded, RequestError, ServeError, Unavailable


def test_a_refusal_of_vllm_names_the_field_and_quotes_a_line_of_the_request() -> None:
    error = vllm_compat.VLLMValidationError("no: " + "x" * 10**6, parameter="stop", value=["x" * 10**6])
    refusal = to_serve_error(error)
    assert isinstance(refusal, EngineRefusal)
    assert (refusal.status, refusal.param) == (400, "stop")
    assert refusal.message.startswith("no: xxx")
    assert len(refusal.message) < 600


def test_a_message_of_many_slashes_is_shortened_before_vllm_looks_for_paths_in_it() -> None:
    started = time.monotonic()
    to_serve_error(vllm_compat.VLLMValidationError("/a" * 4000))  # takes vLLM's own function several seconds
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("bad"), 400),
        (OverflowError("bad"), 400),
        (ZeroDivisionError("/secret/path"), 500),
        (KeyError(), 500),
    ],
)
def test_other_errors_keep_the_status_that_vllm_gives_them(error: Exception, status: int) -> None:
    refusal = to_serve_error(error)
    assert refusal.status == status
    assert "secret" not in refusal.message


def test_errors_of_this_server_stay_as_they_are() -> None:
    error = RequestError("x", param="n")
    assert to_serve_error(error) is error


def test_a_dead_engine_is_unavailable() -> None:
    assert isinstance(to_serve_error(vllm_compat.EngineDeadError()), Unavailable)


@pytest.mark.parametrize("raised", [QueueOverflowError, MaxQueuedTokensError])
@pytest.mark.parametrize("sampling", [{}, {"response_format": {"type": "json_object"}}])
@pytest.mark.anyio
async def test_a_full_queue_of_the_engine_is_overload_and_no_fault_of_a_structure(
    raised: Callable[[], Exception], sampling: dict[str, Any]
) -> None:
    async def answering() -> None:
        raise raised()

    async def results() -> AsyncGenerator[Any, None]:
        raise raised()
        yield

    serving = OwnErrors()
    serving.engine_client = SimpleNamespace(errored=False)
    request = RenderedRequest.from_sampling(sampling)
    with pytest.raises(Overloaded) as whole:
        await serving._own_answer(request, answering())
    with pytest.raises(vllm_compat.GenerationError):
        await anext(serving._own_failures(request, results()))
    for error in (whole.value, request.take_failure()):
        assert (error.status, error.code, error.param, error.retry_after) == (429, "overloaded", None, 5)


def test_an_error_response_is_an_error_of_its_status() -> None:
    client = vllm_compat.create_error_response("x (parameter=n)", param="n")
    server = vllm_compat.create_error_response("x", status_code=HTTPStatus.INTERNAL_SERVER_ERROR)
    assert (from_response(client).message, from_response(client).param) == ("x", "n")
    assert type(from_response(server)) is ServeError
    busy = vllm_compat.create_error_response("x", status_code=HTTPStatus.SERVICE_UNAVAILABLE)
    assert isinstance(from_response(busy), Unavailable)
