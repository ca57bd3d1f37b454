"""State that routes share, and the state of one request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from llava_interleave_serve.server.admission import Admission, Reservation
from llava_interleave_serve.server.body import ADVANCE, BodyReader, announced_size
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.engine.base import Engine
from llava_interleave_serve.server.errors import (
    ClientGone,
    DeadlineExceeded,
    ModelNotFound,
    NotBegun,
    ServeError,
    Unavailable,
)
from llava_interleave_serve.server.media.futures import take_exception
from llava_interleave_serve.server.media.requester import Requester
from llava_interleave_serve.server.observability import metrics
from llava_interleave_serve.server.observability.timing import RequestTiming
from llava_interleave_serve.server.observability.tracing import Tracer
from llava_interleave_serve.server.prompt import answer_logprobs, beam_search, chat_request
from llava_interleave_serve.server.prompt.renderer import RenderedPrompt, Renderer

T = TypeVar("T")


@dataclass(eq=False)
class RequestContext:
    """One request, from before its body is read until its answer has ended.

    Attributes:
        reservation: the capacity that the request holds.
        deadline: when its answer must have ended, in seconds of the event loop's clock.
        late: what ends it then.
        requester: the request as those see it who serve requests in turn.
        span: the name of its span; those of text are OpenTelemetry's (gen_ai.operation.name).

    """

    reservation: Reservation
    deadline: float
    late: ServeError
    requester: Requester
    span: str = "chat"
    _timeouts: dict[asyncio.Timeout, float] = field(default_factory=dict)

    @property
    def timing(self) -> RequestTiming:
        """Durations of the request's phases."""
        return self.requester.timing

    def keep(self, kept_bytes: int) -> None:
        """Reserves the memory that the answer may take, if it takes any. Raises as `Reservation.grow` does.

        A request that needs no more is not refused for what others have taken since it was admitted.
        """
        if kept_bytes:
            self.reservation.grow(bytes=kept_bytes)

    @asynccontextmanager
    async def limited(self, grace: float = 0.0) -> AsyncIterator[None]:
        """Cancels the block `grace` seconds after the deadline, and raises `late` then."""
        if asyncio.get_running_loop().time() >= self.deadline + grace:
            raise self.late  # a block that never waits could not be cancelled
        timeout = asyncio.timeout_at(self.deadline + grace)
        try:
            async with timeout:
                self._timeouts[timeout] = grace
                try:
                    yield
                finally:
                    del self._timeouts[timeout]
        except TimeoutError:
            if timeout.expired():
                raise self.late from None
            raise

    def end(self, error: ServeError) -> None:
        """Makes now the deadline, and the error what ends the request."""
        self.deadline, self.late = asyncio.get_running_loop().time(), error
        for timeout, grace in self._timeouts.items():
            if not timeout.expired():
                timeout.reschedule(self.deadline + grace)


@dataclass
class ServerState:
    """State of one server, shared by its routes.

    Attributes:
        engine: the model.
        config: the server's configuration.
        bodies: reads the bodies of requests.
        renderer: writes prompts and loads media.
        admission: the server's capacity.
        tracer: exports spans.
        warm: True once the engine has run what clients may ask for.
        leaving: True once the server has been told to stop.
        running: the requests that are in the server.

    """

    engine: Engine
    config: ServerConfig
    bodies: BodyReader
    renderer: Renderer
    admission: Admission
    tracer: Tracer
    warm: bool = False
    leaving: bool = False
    running: set[RequestContext] = field(default_factory=set)

    @property
    def ready(self) -> bool:
        """True if requests should be sent here."""
        return self.warm and self.engine.alive and not self.leaving

    def end_requests(self) -> None:
        """Ends all requests: streams with an error event, others with a 503."""
        for context in self.running:
            context.end(Unavailable("the server stopped before the answer had ended"))

    def check_model(self, name: str | None) -> None:
        """Raises ModelNotFound for a name that is neither the model's nor one of its adapters'."""
        if name and name not in self.engine.facts.names:
            raise ModelNotFound(f"there is no model {name[:200]!r} here", param="model")

    @contextmanager
    def admit(self, request: Request) -> Iterator[RequestContext]:
        """The context of a request whose body has not been read yet.

        Raises NotBegun if the engine has died, Overloaded if there is no room.
        """
        if not self.engine.alive:
            raise NotBegun("the engine has died; this server is going down")
        key = getattr(request.state, "key", "")
        seconds = self.config.limits.request_timeout
        deadline = asyncio.get_running_loop().time() + seconds
        late = DeadlineExceeded(f"the answer had not ended {seconds:g} s after its request")
        with self.admission.reserve(key, min(announced_size(request.headers), ADVANCE)) as reservation:
            context = RequestContext(reservation, deadline, late, Requester(key))
            self.running.add(context)
            try:
                yield context
            finally:
                self.running.discard(context)
                for phase, seconds in context.timing.seconds().items():
                    metrics.PHASE.labels(phase).observe(seconds)
                self.tracer.export(context.timing, request.headers, context.span)

    @asynccontextmanager
    async def within_deadline(self, context: RequestContext) -> AsyncIterator[None]:
        """Cancels the block at the request's deadline.

        Raises DeadlineExceeded then, Unavailable if the server stops, and ClientGone for a client that leaves before
        its body has come.
        """
        try:
            async with context.limited():
                yield
        except ClientDisconnect:
            raise ClientGone("the client left before its request had come") from None

    async def render(self, chat: chat_request.ChatRequest, context: RequestContext) -> RenderedPrompt:
        """Reserves room for the request's media, then loads them and writes the prompt. Raises ServeError."""
        parts = await self.renderer.plan_media(chat, context.requester)
        context.reservation.grow(
            visuals=sum(part.views for part in parts), visual_tokens=sum(part.tokens for part in parts)
        )
        context.timing.add_since_arrival("admission")
        rendered = await self.renderer.render(chat, parts, context.requester)
        most_tokens = self.renderer.most_tokens(chat, rendered.tokens)
        pixels = sum(visual.views.nbytes for visual in rendered.visuals)
        kept_bytes = beam_search.kept_bytes(chat.sampling, rendered.tokens, most_tokens, pixels)
        context.keep(kept_bytes + answer_logprobs.kept_bytes(chat.sampling, most_tokens))
        metrics.VISUALS.inc(rendered.media_usage["visuals"])
        metrics.VISUAL_TOKENS.observe(rendered.media_usage["visual_tokens"])
        return rendered


async def unless_client_leaves(request: Request, work: Awaitable[T]) -> T:
    """The result of the work. Raises ClientGone if the client leaves before, and cancels the work then."""
    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone("the client left before its answer")
        return task.result()
    finally:
        leaving.cancel()
        task.cancel()
        task.add_done_callback(take_exception)  # what a cancelled task raises is nobody's
        del task, leaving  # the task holds the error, and the error's traceback this frame


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _server_state(request: Request) -> ServerState:
    """The state of the server of this request. A coroutine, since FastAPI sends plain functions through a thread."""
    state: ServerState = request.app.state.server
    return state


CurrentServer = Annotated[ServerState, Depends(_server_state)]
