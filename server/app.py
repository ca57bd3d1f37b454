"""The application: routes, middleware, errors, and what lives as long as it does."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from llava_interleave_serve.server import errors, request_context
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.engine.vllm_engine import Engine
from llava_interleave_serve.server.http.auth import KeyMiddleware
from llava_interleave_serve.server.http.openapi import DescribedApp
from llava_interleave_serve.server.media.fetch import Resolver, resolve
from llava_interleave_serve.server.observability import metrics
from llava_interleave_serve.server.routes import chat, health, models, plan
from llava_interleave_serve.server.routes import metrics as metrics_route

logger = logging.getLogger("llava_interleave_serve")
ROUTES = (chat, plan, models, health, metrics_route)


def create_app(engine: Engine, config: ServerConfig, resolver: Resolver = resolve) -> FastAPI:
    """The server of one engine; it warms the engine up once it runs, and closes it at its end.

    resolver: from the host names of media to their addresses.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with request_context.running(engine, config, resolver) as running:
            app.state.service, app.state.started = running, int(time.time())
            warming = asyncio.create_task(_warm_up(running))
            yield
            warming.cancel()
        engine.close()

    app = DescribedApp(
        title="llava-interleave-serve",
        version="1",
        lifespan=lifespan,
        summary="LLaVA-NeXT-Interleave over OpenAI's API",
    )
    for route in ROUTES:
        app.include_router(route.router)
    app.add_exception_handler(errors.ServeError, _refuse)
    app.add_exception_handler(HTTPException, _no_such_route)
    app.add_exception_handler(Exception, _fail)
    if config.api_keys:
        app.add_middleware(KeyMiddleware, keys=config.api_keys)
    return app


async def _warm_up(running: request_context.Service) -> None:
    started = time.monotonic()
    await running.engine.warm_up()
    running.warm = True
    logger.info("ready: warmed up in %.1f s", time.monotonic() - started)


def _answer(error: errors.ServeError) -> JSONResponse:
    metrics.REFUSALS.labels(str(error.code)).inc()
    return errors.response(error)


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.ServeError)  # noqa: S101 - starlette dispatches by this very class
    return _answer(error)


async def _no_such_route(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 404
    refusal = errors.RequestError(f"{request.method} {request.url.path[:200]} is not served here")
    refusal.status, refusal.code = status, "not_found"
    answer = _answer(refusal)
    answer.headers.update(getattr(error, "headers", None) or {})  # which methods are allowed
    return answer


async def _fail(request: Request, error: Exception) -> JSONResponse:
    logger.error("a request failed", exc_info=error)
    return _answer(errors.ServeError("something went wrong in the server; the request was not answered"))
