"""GET /health: the process is alive. GET /ready, and /ping: a request sent now would be served."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from llava_interleave_serve.server.errors import Unavailable
from llava_interleave_serve.server.openapi.answers import Status, described
from llava_interleave_serve.server.request_context import CurrentServer

router = APIRouter(tags=["operations"])
OPEN: dict[str, list[str]] = {"security": []}  # needs no key


@router.get("/health", summary="Liveness", openapi_extra=OPEN, responses=described(Status, "The process lives"))
async def health() -> JSONResponse:
    """Always 200."""
    return JSONResponse({"status": "alive"})


@router.get("/ready", summary="Readiness", openapi_extra=OPEN, responses=described(Status, "Requests are served"))
async def ready(server: CurrentServer) -> JSONResponse:
    """200 once the engine has warmed up, while it lives and until the server is told to stop; else 503."""
    if not server.ready:
        if server.leaving:
            raise Unavailable("the server is stopping")
        raise Unavailable("the engine is warming up" if server.engine.alive else "the engine has died")
    return JSONResponse({"status": "ready"})


@router.get("/ping", summary="Readiness", openapi_extra=OPEN, responses=described(Status, "Requests are served"))
async def ping(server: CurrentServer) -> JSONResponse:
    """As /ready: the name by which SageMaker asks."""
    return await ready(server)
