"""The server's process: its log, its sockets, its signals and its end."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from llava_interleave_serve.server.app import create_app
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.engine.base import Engine
from llava_interleave_serve.server.engine.defaults import prepare_environment
from llava_interleave_serve.server.engine.vllm_engine import VllmEngine
from llava_interleave_serve.server.http import descriptors
from llava_interleave_serve.server.http.uvicorn_protocol import bounded_http

logger = logging.getLogger("llava_interleave_serve")
HEARTBEAT = 0.5  # seconds between looks at the engine
ERROR_TIME = 2.0  # seconds that running requests have to get the error of a dead engine


class Server(uvicorn.Server):
    """uvicorn's server, which returns after SIGTERM or SIGINT instead of raising the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def serve(config: ServerConfig) -> int:
    """Serves until a signal or the engine's death. Returns the exit code: 0 after a signal, else 1."""
    logging.basicConfig(format="%(levelname)s %(asctime)s %(name)s: %(message)s")
    logger.setLevel(logging.INFO)
    descriptors.raise_limit()
    return asyncio.run(_serve(config))


def http_config(app: FastAPI, config: ServerConfig) -> uvicorn.Config:
    """uvicorn's configuration."""
    return uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        http=bounded_http(config.limits.head_timeout, descriptors.most_connections()),
        backlog=descriptors.backlog(),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(config.drain_timeout)),
    )


async def _serve(config: ServerConfig) -> int:
    logger.info("serving %s on http://%s:%d once its weights are loaded", config.model_name, config.host, config.port)
    prepare_environment(config.engine_args.enforce_eager, config.is_demo)
    engine = VllmEngine(config.engine_args, config.model_name)
    server = Server(http_config(create_app(engine, config), config))
    watching = asyncio.create_task(_watch(engine, server))
    await server.serve()
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
