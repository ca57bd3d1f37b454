"""What the routes share: the engine, the renderer, the room for requests, and whether the server would serve."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from llava_interleave_serve.server.admission import Admission, Place
from llava_interleave_serve.server.body import announced_size
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.engine.vllm_engine import Engine
from llava_interleave_serve.server.errors import Unavailable
from llava_interleave_serve.server.media.fetch import Resolver, resolve
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.loader import MediaLoader
from llava_interleave_serve.server.observability import metrics
from llava_interleave_serve.server.observability.timing import Phases
from llava_interleave_serve.server.observability.tracing import Tracer
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.renderer import Rendered, Renderer


@dataclass
class Visit:
    """One request in the server. deadline: when its answer must have ended, on the event loop's clock."""

    place: Place
    deadline: float
    phases: Phases = field(default_factory=Phases)


@dataclass
class Service:
    """One server. `warm` turns true once the engine has run what clients may ask for."""

    engine: Engine
    config: ServerConfig
    renderer: Renderer
    admission: Admission
    tracer: Tracer
    warm: bool = False

    @property
    def ready(self) -> bool:
        return self.warm and self.engine.alive

    @contextmanager
    def visit(self, request: Request) -> Iterator[Visit]:
        """A request's stay, from before its body is read. Raises Unavailable, and Overloaded where there is no room."""
        if not self.engine.alive:
            raise Unavailable("the engine has died; this server is going down")
        key = getattr(request.state, "key", "")
        deadline = asyncio.get_running_loop().time() + self.config.limits.request_timeout
        with self.admission.enter(key, announced_size(request.headers)) as place:
            visit = Visit(place, deadline)
            try:
                yield visit
            finally:
                for phase, seconds in visit.phases.seconds().items():
                    metrics.PHASE.labels(phase).observe(seconds)
                self.tracer.export(visit.phases, request.headers)

    async def render(self, chat: chat_request.ChatRequest, visit: Visit) -> Rendered:
        """Finds room for a request's media, renders it, and counts what went into it. Raises ServeError."""
        parts = self.renderer.parts(chat)
        visit.place.take(visuals=sum(part.visuals for part in parts), visual_tokens=sum(part.tokens for part in parts))
        visit.phases.until_now("admission")
        rendered = await self.renderer.render(chat, parts, visit.phases)
        metrics.VISUALS.inc(rendered.account["visuals"])
        metrics.VISUAL_TOKENS.observe(rendered.account["visual_tokens"])
        return rendered


@asynccontextmanager
async def running(engine: Engine, config: ServerConfig, resolver: Resolver = resolve) -> AsyncIterator[Service]:
    """A service and what it holds open."""
    facts, limits = engine.facts, config.limits
    loader = MediaLoader(limits, SquareResize(facts.image_size, config.scale_jpegs), config.access, resolver)
    tracer = Tracer(config.traces_endpoint)
    try:
        renderer = Renderer(facts, limits, loader, config.media_separator, config.visual_budget)
        yield Service(engine, config, renderer, Admission(limits), tracer)
    finally:
        tracer.close()
        await loader.aclose()


async def of(request: Request) -> Service:
    """The service behind a request. A coroutine: FastAPI sends plain functions through a thread."""
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(of)]
