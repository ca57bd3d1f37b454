"""What the server says it is."""

from dataclasses import dataclass

import httpx

from llava_interleave_serve.benchmarks.openai_api import models

OURS = "llava-interleave-serve"


class NoServer(Exception):
    """Nothing that can be measured answers at the URL; the message says what came instead."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The model's name, the dialect that the server takes (`ours`, `openai`), and the tokens of a visual if it says."""

    model: str
    dialect: str
    tokens_per_visual: int | None


async def ask(client: httpx.AsyncClient, model: str | None, dialect: str) -> ServerFacts:
    """Asks GET /v1/models. `model` and `dialect` win over the answer, unless None and `auto`. Raises NoServer."""
    try:
        cards = await models.list_models(client)
        card = next(one for one in cards if model is None or one["id"] == model)
    except models.ModelListError as error:
        raise NoServer(str(error)) from None
    except StopIteration:
        raise NoServer(f"the server has no model {model!r}" if model else "the server has no model") from None
    ours = card.get("owned_by") == OURS
    found = ("ours" if ours else "openai") if dialect == "auto" else dialect
    return ServerFacts(str(card["id"]), found, card.get("tokens_per_visual"))
