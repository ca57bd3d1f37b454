"""GET /version."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from llava_interleave_serve.server.observability import distribution
from llava_interleave_serve.server.openapi.answers import Version, described

router = APIRouter(tags=["operations"])


@router.get("/version", summary="The server's version", responses=described(Version, "The version"))
async def version() -> JSONResponse:
    """The installed version of this server."""
    return JSONResponse({"version": distribution.version()})
