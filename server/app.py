"""The FastAPI application of one engine: its routes, its error handlers, and what lives as long as it does."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from llava_interleave_serve.server.admission import Admission
from llava_interleave_serve.server.body import BodyReader
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.engine.base import Engine
from llava_interleave_serve.server.errors import ClientGone, MethodNotAllowed, RouteNotFound, ServeError
from llava_interleave_serve.server.http.auth import KeyMiddleware
from llava_interleave_serve.server.http.error_responses import error_response
from llava_interleave_serve.server.http.middleware import HeadRequests, RequestIds, UnexpectedErrors, cors
from llava_interleave_serve.server.media.host_lookup import Resolver, resolve
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.loader import MediaLoader
from llava_interleave_serve.server.observability import metrics
from llava_interleave_serve.server.observability.tracing import Tracer
from llava_interleave_serve.server.openapi.document import DescribedApp
from llava_interleave_serve.server.prompt.plan.media_plan import PlanRules
from llava_interleave_serve.server.prompt.renderer import Renderer
from llava_interleave_serve.server.request_context import ServerState
from llava_interleave_serve.server.routes import (
    chat,
    completions,
    documents,
    health,
    models,
    plan,
    playground,
    tokenize,
    version,
)
from llava_interleave_serve.server.routes import metrics as metrics_route

logger = logging.getLogger("llava_interleave_serve")
ROUTES = (chat, plan, completions, tokenize, models, health, version, metrics_route, documents, playground)


def create_app(engine: Engine, config: ServerConfig, resolver: Resolver = resolve) -> FastAPI:
    """The application of an engine. It warms the engine up once it runs, and closes the engine at its end.

    resolver: resolves the host names of media to addresses.
    """
    # The model's name on the hub; of a model in a folder the served name, since its path is nobody's business.
    root = engine.facts.name if Path(config.model).exists() else config.model

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _server_state(engine, config, resolver) as state:
            app.state.server, app.state.started, app.state.root = state, int(time.time()), root
            warming = asyncio.create_task(_warm_up(state))
            yield
            warming.cancel()
        engine.close()

    app = DescribedApp(
        title="llava-interleave-serve",
        needs_key=bool(config.api_keys),
        version="1",  # of the HTTP interface, as in /v1
        lifespan=lifespan,
        redirect_slashes=False,  # the target would be of the host and scheme that the client names
        summary="LLaVA-NeXT-Interleave over OpenAI's API",
        middleware=_middleware(config),
    )
    for route in ROUTES:
        app.include_router(route.router)
    app.add_exception_handler(ServeError, _answer_serve_error)
    app.add_exception_handler(HTTPException, _answer_unknown_route)
    return app


def _middleware(config: ServerConfig) -> list[Middleware]:
    """What a request passes, from outside: CORS before the key, since a page's preflight carries none."""
    return [
        Middleware(RequestIds),
        *([cors(config.allowed_origins)] if config.allowed_origins else []),
        Middleware(HeadRequests),
        *([Middleware(KeyMiddleware, keys=config.api_keys, readable=_readable(config))] if config.api_keys else []),
        Middleware(UnexpectedErrors, respond=_counted_response),
    ]


def _readable(config: ServerConfig) -> frozenset[str]:
    """The paths that are read without a key: what is the same in every server, and metrics if the operator says so."""
    pages = documents.PATHS | (playground.PATHS if config.playground else frozenset())
    return pages | {metrics_route.PATH} if config.metrics_without_key else pages


@asynccontextmanager
async def _server_state(engine: Engine, config: ServerConfig, resolver: Resolver) -> AsyncIterator[ServerState]:
    """The state that the routes share; what it holds open is closed at the end."""
    facts, limits = engine.facts, config.limits
    admission = Admission(limits)
    transparency = config.transparency or facts.transparency
    any_resolution = facts.visual_format.any_resolution
    resize = SquareResize(facts.image_size, config.scale_jpegs, any_resolution, transparency == "drop")
    loader = MediaLoader(limits, resize, config.access, admission, resolver, config.video_reader)
    tracer = Tracer(config.traces_endpoint, config.traces_protocol)
    bodies = BodyReader(limits)
    rules = PlanRules(
        facts.grid,
        limits,
        config.visual_budget,
        config.low_detail == "pool",
        facts.visual_format,
        config.prompt_style or facts.prompt_style,
    )
    renderer = Renderer(facts, loader, config.media_separator, rules)
    try:
        yield ServerState(engine, config, bodies, renderer, admission, tracer)
    finally:
        tracer.close()
        bodies.close()
        renderer.close()
        await loader.aclose()


async def _warm_up(state: ServerState) -> None:
    started = time.monotonic()
    try:
        await state.engine.warm_up()
    except Exception:
        logger.exception("the engine does not answer; /ready stays red")
        return
    state.warm = True
    logger.info("ready: warmed up in %.1f s", time.monotonic() - started)


def _counted_response(error: ServeError) -> Response:
    metrics.REFUSALS.labels(str(error.code)).inc()
    return error_response(error)


async def _answer_serve_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServeError)  # noqa: S101 - starlette dispatches by this very class
    return Response(status_code=error.status) if isinstance(error, ClientGone) else _counted_response(error)


async def _answer_unknown_route(request: Request, error: Exception) -> Response:
    """404 for an unknown path; 405, with the methods that are allowed, for an unknown method of a known path."""
    status = error.status_code if isinstance(error, HTTPException) else RouteNotFound.status
    kind = MethodNotAllowed if status == MethodNotAllowed.status else RouteNotFound
    response = _counted_response(kind(f"{request.method} {request.url.path[:200]} is not served here"))
    headers = dict(getattr(error, "headers", None) or {})
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"
    response.headers.update(headers)
    return response
