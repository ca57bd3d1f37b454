"""The server's process: its log, its socket, its signals and its end."""

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from fastapi import FastAPI

from llava_interleave_serve.server.app import create_app
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.engine.base import Engine
from llava_interleave_serve.server.engine.defaults import prepare_environment
from llava_interleave_serve.server.engine.vllm_engine import VllmEngine
from llava_interleave_serve.server.http import descriptors
from llava_interleave_serve.server.http.uvicorn_protocol import bounded_http
from llava_interleave_serve.server.observability.request_log import RequestFormatter

logger = logging.getLogger("llava_interleave_serve")
HEARTBEAT = 0.5  # seconds between looks at the engine
ERROR_TIME = 2.0  # seconds that running requests have to get the error of a dead engine
END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Server(uvicorn.Server):
    """uvicorn's server, which returns after a signal of END_SIGNALS instead of raising the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _handled_signals():
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def _handled_signals() -> list[signal.Signals]:
    """END_SIGNALS without SIGHUP where it is ignored: nohup does that, so that the server outlives its terminal."""
    return [number for number in END_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def serve(config: ServerConfig) -> int:
    """Serves until a signal or the engine's death.

    Returns the exit code: 0 after a signal, 1 if the engine died or the address cannot be listened on. A signal while
    the model is loaded ends the process at once, with 128 and the signal's number.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(RequestFormatter())
    logging.basicConfig(handlers=[handler])
    logger.setLevel(logging.INFO)
    descriptors.raise_limit()
    try:
        listener = bind(config.host, config.port)
    except OSError as error:
        logger.error("cannot listen on %s, port %d: %s", config.host, config.port, error.strerror)
        return 1
    with listener:
        return asyncio.run(_serve(config, listener))


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
        timeout_graceful_shutdown=max(1, round(config.drain_timeout)),
    )


async def _serve(config: ServerConfig, listener: socket.socket) -> int:
    logger.info("serving %s on http://%s:%d once its weights are loaded", config.model_name, config.host, config.port)
    prepare_environment(config.engine_args.enforce_eager, config.is_demo)
    for number in _handled_signals():
        signal.signal(number, _exit_while_loading)
    engine = VllmEngine(config.engine_args, config.model_name, reserves_outputs=config.reserves_outputs)
    server = Server(http_config(create_app(engine, config), config))
    watching = asyncio.create_task(_watch(engine, server))
    await server.serve([listener])
    # asyncio.run joins the threads of the default executor: one that never ends would keep the process from ending.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    died = watching.done()
    watching.cancel()
    return 0 if server.started and not died else 1


async def _watch(engine: Engine, server: uvicorn.Server) -> None:
    """Ends the server once its engine is dead, after its running requests have got their errors."""
    while engine.alive:  # noqa: ASYNC110 - vLLM offers no event for it
        await asyncio.sleep(HEARTBEAT)
    logger.error("the engine has died; exiting")
    await asyncio.sleep(ERROR_TIME)
    server.should_exit = True
