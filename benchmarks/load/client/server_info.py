"""The server's account of itself: its model, and whether it takes this project's content parts."""

from dataclasses import dataclass

import httpx

OURS = "llava-interleave-serve"  # `owned_by` of the models of this project's server


class NoServer(Exception):
    """Nothing that can be measured answers at the URL; the message says what came instead."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server and one of its models."""

    model: str
    """Name of the model."""
    dialect: str
    """Request format that the server takes: `ours` or `openai`."""
    tokens_per_visual: int | None
    """Tokens of an image or frame, if the server gives them."""


async def fetch(client: httpx.AsyncClient, model: str | None, dialect: str) -> ServerInfo:
    """Reads GET /v1/models. A `model` other than None and a `dialect` other than `auto` win over the response.

    Raises NoServer.
    """
    url = f"{str(client.base_url).rstrip('/')}/v1/models"
    try:
        response = await client.get("/v1/models")
        cards = response.raise_for_status().json()["data"]
        card = next(card for card in cards if model is None or card["id"] == model)
    except httpx.HTTPError as error:
        raise NoServer(f"{url}: {error}") from None
    except StopIteration:
        raise NoServer(f"the server has no model {model!r}" if model else "the server has no model") from None
    except (ValueError, KeyError, TypeError):
        raise NoServer(f"{url}: not a list of models") from None
    if dialect == "auto":
        dialect = "ours" if card.get("owned_by") == OURS else "openai"
    return ServerInfo(str(card["id"]), dialect, card.get("tokens_per_visual"))
