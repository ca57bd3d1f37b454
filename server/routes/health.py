"""GET /health: is the process alive. GET /ready: would it serve."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from llava_interleave_serve.server.errors import Unavailable
from llava_interleave_serve.server.request_context import ServiceOf

router = APIRouter()


@router.get("/health")
async def health() -> JSONResponse:
    """Always 200."""
    return JSONResponse({"status": "alive"})


@router.get("/ready")
async def ready(service: ServiceOf) -> JSONResponse:
    """200 once the engine has warmed up and while it lives, else 503."""
    if not service.ready:
        raise Unavailable("the engine is warming up" if service.engine.alive else "the engine has died")
    return JSONResponse({"status": "ready"})
