"""GET /v1/models."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from llava_interleave_serve.server.engine.base import PROMPT_STYLES
from llava_interleave_serve.server.errors import ModelNotFound
from llava_interleave_serve.server.openapi.answers import ModelCard, ModelList, described
from llava_interleave_serve.server.request_context import CurrentServer, ServerState

router = APIRouter(tags=["models"])


def _model_card(request: Request, server: ServerState) -> dict[str, Any]:
    """OpenAI's model, with the further fields of vLLM's, and `tokens_per_visual`."""
    facts, created = server.engine.facts, request.app.state.started
    permission = {
        "id": f"modelperm-{facts.name}",
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
        "id": facts.name,
        "object": "model",
        "created": created,
        "owned_by": "llava-interleave-serve",
        "root": request.app.state.root,
        "parent": None,
        "max_model_len": facts.max_model_len,
        "permission": [permission],
        "tokens_per_visual": facts.grid**2,
        "prompt_style": server.config.prompt_style or facts.prompt_style,
        "prompt_styles": PROMPT_STYLES,
        "sampling_defaults": dict(facts.sampling_defaults),
    }


@router.get("/v1/models", summary="List the model", responses=described(ModelList, "The one model that is served"))
async def models(request: Request, server: CurrentServer) -> JSONResponse:
    """Lists the one model that is served."""
    return JSONResponse({"object": "list", "data": [_model_card(request, server)]})


@router.get("/v1/models/{name:path}", summary="Describe the model", responses=described(ModelCard, "The model"))
async def model(name: str, request: Request, server: CurrentServer) -> JSONResponse:
    """Describes the model if it is the one that is served, else 404. Without a name: lists it."""
    if not name:
        return await models(request, server)
    if name != server.engine.facts.name:
        raise ModelNotFound(f"there is no model {name[:200]!r} here", param="model")
    return JSONResponse(_model_card(request, server))
