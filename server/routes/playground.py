"""GET /, a page on which one composes requests and sees their answers, and the files of this page."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_interleave_serve.server.errors import RouteNotFound
from llava_interleave_serve.server.http.static_files import StaticFiles, policy
from llava_interleave_serve.server.request_context import CurrentServer

router = APIRouter(include_in_schema=False)
FOLDER = Path(__file__).resolve().parents[1] / "playground"
# No text becomes markup anywhere on this page: browsers refuse to parse any.
FILES = StaticFiles(FOLDER, policy(require_trusted_types_for="'script'", trusted_types="'none'"))
PATHS = frozenset({"/", *(f"/playground/{name}" for name in FILES.names)})


@router.get("/")
async def page(request: Request, server: CurrentServer) -> Response:
    """The page itself. It holds nothing of the server but what is the same everywhere."""
    return await file("index.html", request, server)


@router.get("/playground/{name:path}")
async def file(name: str, request: Request, server: CurrentServer) -> Response:
    """A file of the page. 404 if the operator has switched the page off."""
    response = FILES.response(name, request.headers) if server.config.playground else None
    if response is None:
        raise RouteNotFound(f"{request.method} {request.url.path[:200]} is not served here")
    return response
