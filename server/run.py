"""The server's process: its log, its socket, its signals and its end."""

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import sys
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TextIO

import uvicorn
from fastapi import FastAPI

from llava_interleave_serve.server import health_check, start_output
from llava_interleave_serve.server.app import create_app
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.engine import log_filter
from llava_interleave_serve.server.engine.base import Engine
from llava_interleave_serve.server.engine.defaults import logs_errors_only, prepare_environment
from llava_interleave_serve.server.engine.vllm_engine import VllmEngine
from llava_interleave_serve.server.http import descriptors
from llava_interleave_serve.server.http.uvicorn_protocol import bounded_http
from llava_interleave_serve.server.observability.request_log import RequestFormatter
from llava_interleave_serve.server.request_context import ServerState
from llava_interleave_serve.server.start_output import StartOutput

logger = logging.getLogger("llava_interleave_serve")
HEARTBEAT = 0.5  # seconds between looks at the engine
END_SECONDS = 4  # that requests have to send their errors at the end of --drain-timeout
ERROR_TIME = 2.0  # seconds that running requests have to get the error of a dead engine
END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Server(uvicorn.Server):
    """uvicorn's server, which returns after a signal of END_SIGNALS instead of raising the signal again.

    After SIGTERM it serves on for `drain_delay`, while `/ready` is red, so that whoever sends it requests can turn to
    others; another signal ends that. Then it accepts nothing more, and running requests have `drain_timeout` to finish;
    those that have not are ended with an error.
    """

    def __init__(self, app: FastAPI, config: ServerConfig) -> None:
        super().__init__(http_config(app, config))
        self._app, self._delay, self._timeout = app, config.drain_delay, config.drain_timeout

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _handled_signals():
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    def handle_exit(self, sig: int, frame: types.FrameType | None) -> None:
        """uvicorn's hook for a signal."""
        state = self._state()
        if sig != signal.SIGTERM or self._delay == 0 or state is None or state.leaving:
            super().handle_exit(sig, frame)
            return
        logger.info("SIGTERM: requests are served for %g s more, then running ones are finished", self._delay)
        state.leaving = True
        # So that clients connect anew, and by then to others. uvicorn takes it over within a second.
        self.config.encoded_headers.append((b"connection", b"close"))
        asyncio.get_running_loop().call_later(self._delay, super().handle_exit, sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's hook for the end."""
        state = self._state()
        if state is not None:
            state.leaving = True
            asyncio.get_running_loop().call_later(self._timeout, state.end_requests)
        await super().shutdown(sockets)

    def _state(self) -> ServerState | None:
        """The application's state; None before it runs."""
        return getattr(self._app.state, "server", None)


def _handled_signals() -> list[signal.Signals]:
    """END_SIGNALS without SIGHUP where it is ignored: nohup does that, so that the server outlives its terminal."""
    return [number for number in END_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def serve(config: ServerConfig) -> int:
    """Serves until a signal or the engine's death.

    Returns the exit code: 0 after a signal, 1 if the address cannot be listened on, or if the engine does not start or
    has died. A signal while the model is loaded ends the process at once, with 128 and the signal's number.
    """
    console = os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1)
    handler = logging.StreamHandler(console)
    handler.setFormatter(RequestFormatter())
    logging.basicConfig(handlers=[handler])
    logger.setLevel(logging.INFO)
    descriptors.raise_limit()
    try:
        listener = bind(config.host, config.port)
    except (OSError, UnicodeError) as error:
        problem = getattr(error, "strerror", None) or error
        logger.error("cannot listen on %s, port %d: %s", config.host, config.port, problem)
        return 1
    with listener, _address_written(config, listener.getsockname()[1]):
        return asyncio.run(_serve(config, listener, console))


@contextlib.contextmanager
def _address_written(config: ServerConfig, port: int) -> Iterator[None]:
    if config.address_file is not None:
        config.address_file.write_text(health_check.url_of(config.host, port) + "\n")
    try:
        yield
    finally:
        if config.address_file is not None:
            config.address_file.unlink(missing_ok=True)


def bind(host: str, port: int) -> socket.socket:
    """A TCP socket bound to the address, not listening yet: bound before the model is loaded, which may take minutes.

    Raises OSError if the address is in use, or is not this machine's.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # asyncio sends small writes at once (TCP_NODELAY) only on sockets that name the protocol.
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _exit_while_loading(number: int, frame: types.FrameType | None) -> None:
    """Ends the process in the middle of loading, which no other way can interrupt; the engine ends with it."""
    os._exit(128 + number)


def http_config(app: FastAPI, config: ServerConfig) -> uvicorn.Config:
    """uvicorn's configuration."""
    return uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        http=bounded_http(config.limits, descriptors.most_connections()),
        backlog=descriptors.backlog(),
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=math.ceil(config.limits.keep_alive_timeout),
        timeout_graceful_shutdown=math.ceil(config.drain_timeout) + END_SECONDS,
    )


async def _serve(config: ServerConfig, listener: socket.socket, console: TextIO) -> int:
    logger.info("serving %s on http://%s:%d once its weights are loaded", config.model_name, config.host, config.port)
    prepare_environment(config.engine_args.enforce_eager)
    for number in _handled_signals():
        signal.signal(number, _exit_while_loading)
    output = StartOutput(console) if logs_errors_only() else None
    try:
        engine = VllmEngine(
            config.engine_args, config.model_name, sizes_memory=config.sizes_memory, adapters=config.adapters
        )
        await engine.load_adapters()
    except Exception as error:  # noqa: BLE001 - of whatever kind, it is what the operator must know
        _explain(error, config, output)
        return 1
    if output is not None:
        output.release()
    log_filter.install()
    server = Server(create_app(engine, config), config)
    watching = asyncio.create_task(_watch(engine, server))
    await server.serve([listener])
    # asyncio.run joins the threads of the default executor: one that never ends would keep the process from ending.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    died = watching.done()
    watching.cancel()
    return 0 if server.started and not died else 1


def _explain(error: Exception, config: ServerConfig, output: StartOutput | None) -> None:
    """Logs in one line, the last, why the engine does not start."""
    if output is None:
        logger.error("the engine does not start", exc_info=error)
        where = ""
    else:
        path = output.keep(error)
        where = f"; all that vLLM said is in {path}" if path is not None else ""
    why = start_output.reason(error, output.held if output is not None else "")
    logger.error("cannot serve %s: %s%s", config.model_name, why, where)


async def _watch(engine: Engine, server: uvicorn.Server) -> None:
    """Ends the server once its engine is dead, after its running requests have got their errors."""
    while engine.alive:  # noqa: ASYNC110 - vLLM offers no event for it
        await asyncio.sleep(HEARTBEAT)
    logger.error("the engine has died; exiting")
    await asyncio.sleep(ERROR_TIME)
    server.should_exit = True
