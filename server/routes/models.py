"""GET /v1/models."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from llava_interleave_serve.server.errors import ModelNotFound
from llava_interleave_serve.server.openapi.answers import ModelCard, ModelList, described
from llava_interleave_serve.server.request_context import CurrentServer, ServerState

router = APIRouter(tags=["models"])


def _model_card(server: ServerState, created: int) -> dict[str, str | int]:
    facts = server.engine.facts
    return {
        "id": facts.name,
        "object": "model",
        "created": created,
        "owned_by": "llava-interleave-serve",
        "max_model_len": facts.max_model_len,
        "tokens_per_visual": facts.grid**2,
    }


@router.get("/v1/models", summary="List the model", responses=described(ModelList, "The one model that is served"))
async def models(request: Request, server: CurrentServer) -> JSONResponse:
    """Lists the one model that is served."""
    return JSONResponse({"object": "list", "data": [_model_card(server, request.app.state.started)]})


@router.get("/v1/models/{name:path}", summary="Describe the model", responses=described(ModelCard, "The model"))
async def model(name: str, request: Request, server: CurrentServer) -> JSONResponse:
    """Describes the model if it is the one that is served, else 404. Without a name: lists it."""
    if not name:
        return await models(request, server)
    if name != server.engine.facts.name:
        raise ModelNotFound(f"there is no model {name[:200]!r} here", param="model")
    return JSONResponse(_model_card(server, request.app.state.started))
