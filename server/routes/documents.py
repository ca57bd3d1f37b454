"""GET /openapi.json, and two pages that show it: /docs, Swagger UI, and /redoc, Redoc."""

import functools
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from llava_interleave_serve.server.errors import RouteNotFound
from llava_interleave_serve.server.http.static_files import StaticFiles, policy

router = APIRouter(include_in_schema=False)
PAGES = Path(__file__).resolve().parents[1] / "http" / "pages"
PACKAGED = Path(fastapi_offline.__file__).parent / "static"
# Both draw with styles of their own making; Redoc searches in a worker that it makes of a blob.
POLICY = policy(style_src="'self' 'unsafe-inline'", worker_src="blob:")
ASSETS = ("show.js", "show.css", "swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "favicon.png")
PATHS = frozenset({"/openapi.json", "/docs", "/redoc", *(f"/docs/{name}" for name in ASSETS)})


@functools.cache
def _files() -> tuple[StaticFiles, StaticFiles]:
    """Our pages, and what they show the document with, 3 MB: read when first asked for."""
    return StaticFiles(PAGES, POLICY), StaticFiles(PACKAGED, POLICY)


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The document in Swagger UI, from which requests can be sent."""
    return await asset("docs.html", request)


@router.get("/redoc")
async def redoc(request: Request) -> Response:
    """The document in Redoc."""
    return await asset("redoc.html", request)


@router.get("/docs/{name:path}")
async def asset(name: str, request: Request) -> Response:
    """A file of these pages."""
    for files in _files():
        response = files.response(name, request.headers)
        if response is not None:
            return response
    raise RouteNotFound(f"{request.method} {request.url.path[:200]} is not served here")
