"""GET /version."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from llava_interleave_serve.server.observability import distribution

router = APIRouter()


@router.get("/version")
async def version() -> JSONResponse:
    """The installed version of this server."""
    return JSONResponse({"version": distribution.version()})
