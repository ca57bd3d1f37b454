"""Models are listed by a server, or the error says what came instead."""

from typing import Any

import httpx
import pytest

from llava_interleave_serve.benchmarks.openai_api import models
from llava_interleave_serve.benchmarks.openai_api.models import ModelListError

pytestmark = pytest.mark.anyio


def client(base_url: str = "http://server", **answer: Any) -> httpx.AsyncClient:
    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(answer.get("status", 200) if request.url.path == "/v1/models" else 404, **content)

    content = {name: value for name, value in answer.items() if name != "status"}
    return httpx.AsyncClient(base_url=base_url, transport=httpx.MockTransport(respond))


CARDS = [{"id": "one", "owned_by": "us"}, {"id": "two"}]


async def test_every_model_card_is_returned_unchanged() -> None:
    assert await models.list_models(client(json={"data": CARDS})) == CARDS


async def test_the_first_model_is_the_first_one_listed() -> None:
    assert await models.first_model(client(json={"data": CARDS})) == "one"


async def test_the_base_url_of_a_model_list_may_end_in_v1() -> None:
    assert await models.first_model(client("http://server/v1/", json={"data": CARDS}), "models") == "one"


@pytest.mark.parametrize(
    "answer",
    [{"text": "hello"}, {"json": {}}, {"json": []}, {"json": {"data": [{}]}}, {"json": {"data": 3}}],
)
async def test_an_answer_that_is_not_a_model_list_is_an_error_with_the_address(answer: dict[str, Any]) -> None:
    with pytest.raises(ModelListError, match=r"^http://server/v1/models: not a list of models$"):
        await models.list_models(client(**answer))


async def test_an_http_error_of_a_model_list_is_reported() -> None:
    with pytest.raises(ModelListError, match=r"^http://server/v1/models: .*401"):
        await models.list_models(client(status=401, json={"error": "no"}))


async def test_an_empty_model_list_has_no_first_model() -> None:
    assert await models.list_models(client(json={"data": []})) == []
    with pytest.raises(ModelListError, match="the list is empty") as error:
        await models.first_model(client(json={"data": []}))
    assert error.value.url == "http://server/v1/models"
