"""The server's account of itself: its model, and whether it takes this project's content parts."""

from dataclasses import dataclass

import httpx

from llava_interleave_serve.benchmarks.openai_api import models

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
    try:
        cards = await models.list_models(client)
        card = next(card for card in cards if model is None or card["id"] == model)
    except models.ModelListError as error:
        raise NoServer(str(error)) from None
    except StopIteration:
        raise NoServer(f"the server has no model {model!r}" if model else "the server has no model") from None
    if dialect == "auto":
        dialect = "ours" if card.get("owned_by") == OURS else "openai"
    return ServerInfo(str(card["id"]), dialect, card.get("tokens_per_visual"))
