"""GET /v1/models."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.request_context import Service, ServiceOf

router = APIRouter()


def _card(service: Service, created: int) -> dict[str, str | int]:
    facts = service.engine.facts
    return {
        "id": facts.name,
        "object": "model",
        "created": created,
        "owned_by": "llava-interleave-serve",
        "max_model_len": facts.max_model_len,
        "tokens_per_visual": facts.grid**2,
    }


@router.get("/v1/models")
async def models(request: Request, service: ServiceOf) -> JSONResponse:
    """The one model that is served."""
    return JSONResponse({"object": "list", "data": [_card(service, request.app.state.started)]})


@router.get("/v1/models/{name:path}")
async def model(name: str, request: Request, service: ServiceOf) -> JSONResponse:
    """The model, if it is the one that is served."""
    if name != service.engine.facts.name:
        error = RequestError(f"there is no model {name[:200]!r} here", param="model")
        error.status, error.code = 404, "model_not_found"
        raise error
    return JSONResponse(_card(service, request.app.state.started))
