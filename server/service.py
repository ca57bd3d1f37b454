"""What the routes share: the engine, the renderer, and whether the server would serve."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Annotated

from fastapi import Depends, Request

from llava_interleave_serve.server import metrics, protocol
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.engine import Engine
from llava_interleave_serve.server.errors import Unavailable
from llava_interleave_serve.server.media.fetch import Resolver
from llava_interleave_serve.server.media.loader import MediaLoader
from llava_interleave_serve.server.render import Rendered, Renderer


@dataclass
class Service:
    """One server. `warm` turns true once the engine has run what clients may ask for."""

    engine: Engine
    config: ServerConfig
    renderer: Renderer
    warm: bool = False

    @property
    def ready(self) -> bool:
        return self.warm and self.engine.alive

    async def render(self, request: protocol.ChatRequest) -> Rendered:
        """Renders a request, and counts what went into it. Raises ServeError."""
        if not self.engine.alive:
            raise Unavailable("the engine has died; this server is going down")
        started = perf_counter()
        rendered = await self.renderer.render(request)
        metrics.RENDER.observe(perf_counter() - started)
        metrics.VISUALS.inc(rendered.account["visuals"])
        metrics.VISUAL_TOKENS.observe(rendered.account["visual_tokens"])
        return rendered


@asynccontextmanager
async def running(engine: Engine, config: ServerConfig, resolver: Resolver) -> AsyncIterator[Service]:
    """A service and what it holds open."""
    facts = engine.facts
    loader = MediaLoader(config.limits, facts.image_size, config.access, resolver)
    try:
        yield Service(engine, config, Renderer(facts, config.limits, loader, config.media_separator))
    finally:
        await loader.aclose()


def of(request: Request) -> Service:
    """The service behind a request."""
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(of)]
