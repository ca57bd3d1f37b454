"""The models that an OpenAI server lists."""

from typing import Any

import httpx

SESSION_HEADER = "X-Session-ID"  # by which routers choose a replica


class ModelListError(Exception):
    """The server did not answer with a list of models.

    Attributes:
        url: The address that was asked.
        cause: What came instead, in words.

    """

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f"{url}: {cause}")
        self.url, self.cause = url, cause


async def list_models(client: httpx.AsyncClient, path: str = "/v1/models") -> list[dict[str, Any]]:
    """Returns the model cards of GET /v1/models; each has at least an `id`.

    `path` is taken relative to the client's base URL: pass `models` if that URL ends in `/v1/`. Raises ModelListError.
    """
    url = str(client.build_request("GET", path).url)
    try:
        response = await client.get(path)
        cards: list[dict[str, Any]] = response.raise_for_status().json()["data"]
        for card in cards:
            card["id"]
    except httpx.HTTPError as error:
        raise ModelListError(url, str(error)) from None
    except (ValueError, LookupError, TypeError):
        raise ModelListError(url, "not a list of models") from None
    return cards


async def first_model(client: httpx.AsyncClient, path: str = "/v1/models") -> str:
    """Returns the name of the first model that the server lists. Raises ModelListError, also for an empty list."""
    cards = await list_models(client, path)
    if not cards:
        raise ModelListError(str(client.build_request("GET", path).url), "the list is empty")
    return str(cards[0]["id"])
