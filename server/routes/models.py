"""GET /v1/models."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from llava_interleave_serve.server.engine.base import PROMPT_STYLES
from llava_interleave_serve.server.errors import ModelNotFound
from llava_interleave_serve.server.openapi.answers import ModelCard, ModelList, described
from llava_interleave_serve.server.request_context import CurrentServer, ServerState

router = APIRouter(tags=["models"])


def _model_card(request: Request, server: ServerState, name: str) -> dict[str, Any]:
    """OpenAI's model, with the further fields of vLLM's, and `tokens_per_visual`.

    name: the model's, or that of one of its adapters, whose parent the model is.
    """
    facts, created = server.engine.facts, request.app.state.started
    permission = {
        "id": f"modelperm-{name}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "llava-interleave-serve",
        "root": request.app.state.root if name == facts.name else name,
        "parent": None if name == facts.name else facts.name,
        "max_model_len": facts.max_model_len,
        "permission": [permission],
        "tokens_per_visual": facts.grid**2,
        "prompt_style": server.config.prompt_style or facts.prompt_style,
        "prompt_styles": PROMPT_STYLES,
        "sampling_defaults": dict(facts.sampling_defaults),
    }


@router.get("/v1/models", summary="List the model", responses=described(ModelList, "The model, and its adapters"))
async def models(request: Request, server: CurrentServer) -> JSONResponse:
    """Lists the one model that is served, and its LoRA adapters."""
    cards = [_model_card(request, server, name) for name in server.engine.facts.names]
    return JSONResponse({"object": "list", "data": cards})


@router.get("/v1/models/{name:path}", summary="Describe the model", responses=described(ModelCard, "The model"))
async def model(name: str, request: Request, server: CurrentServer) -> JSONResponse:
    """Describes the model if it is the one that is served or its adapter, else 404. Without a name: lists them."""
    if not name:
        return await models(request, server)
    if name not in server.engine.facts.names:
        raise ModelNotFound(f"there is no model {name[:200]!r} here", param="model")
    return JSONResponse(_model_card(request, server, name))
