"""The application over a fake engine, on real sockets: in a thread of the test's, or in a process of its own.

`python served_app.py --port PORT` serves until SIGTERM.
"""

import argparse
import asyncio
import collections
import contextlib
import resource
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from llava_interleave_serve.server.app import create_app
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.host_lookup import Resolver, resolve
from llava_interleave_serve.server.request_context import ServerState
from llava_interleave_serve.server.run import Server
from tests.support import demo_server
from tests.support.demo_server import RunningServer
from tests.support.fakes.engine import FakeEngine

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class ServedApp:
    engine: FakeEngine
    port: int
    loop: asyncio.AbstractEventLoop
    app: FastAPI
    connections: set[Any]  # that are open

    @property
    def state(self) -> ServerState:
        """The state behind the application."""
        state: ServerState = self.app.state.server
        return state

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options)


@contextlib.contextmanager
def in_thread(engine: FakeEngine | None = None, *, resolver: Resolver = resolve, **config: Any) -> Iterator[ServedApp]:
    """Serves on a free port of loopback, with HTTP spoken as the real server speaks it."""
    engine, settings = engine or FakeEngine(), ServerConfig(**{"drain_timeout": 1, **config})
    # asyncio sends small writes at once only on sockets that say they are TCP's.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # a client may connect before the server accepts
        app = create_app(engine, settings, resolver)
        server = Server(app, settings)
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # a thread has no signals
        loop: Future[asyncio.AbstractEventLoop] = Future()

        async def run() -> None:
            loop.set_result(asyncio.get_running_loop())
            await server.serve([listening])

        thread = threading.Thread(target=lambda: asyncio.run(run()))
        thread.start()
        try:
            port, connections = listening.getsockname()[1], server.server_state.connections
            yield ServedApp(engine, port, loop.result(), app, connections)
        finally:
            server.should_exit = True
            thread.join()


def in_process(folder: Path, *options: str) -> contextlib.AbstractContextManager[RunningServer]:
    """Serves in a process of its own, whose memory, descriptors and threads are the server's alone.

    options: `--head-timeout`, `--drain-delay`, `--drain-timeout` (seconds), `--events` (of a stream, ten a second),
    `--descriptors` (the soft limit of open files).
    """
    return demo_server.running(
        [sys.executable, "-m", "tests.support.app_server", *options], folder, PYTHONPATH=f"{ROOT}:{ROOT / 'src'}"
    )


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--head-timeout", type=float, default=Limits().head_timeout)
    parser.add_argument("--descriptors", type=int)
    parser.add_argument("--drain-delay", type=float, default=0)
    parser.add_argument("--drain-timeout", type=float, default=1)
    parser.add_argument("--events", type=int, default=2)
    args = parser.parse_args()
    if args.descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (args.descriptors, args.descriptors))
    config = ServerConfig(
        port=args.port,
        drain_delay=args.drain_delay,
        drain_timeout=args.drain_timeout,
        limits=Limits(head_timeout=args.head_timeout),
    )
    engine = FakeEngine()
    engine.events, engine.seconds_between = engine.events[:1] * args.events, 0.1
    engine.asked = collections.deque(maxlen=1)  # the engine is not to be what fills the memory
    asyncio.run(Server(create_app(engine, config), config).serve())


if __name__ == "__main__":
    _main()
