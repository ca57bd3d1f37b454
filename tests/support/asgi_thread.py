"""An ASGI application on a port of its own, in a thread of the test's process."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Literal

import uvicorn

PATIENCE = 30  # seconds to start, and to stop


@contextlib.contextmanager
def serving(app: Any, lifespan: Literal["on", "off"] = "off") -> Iterator[str]:
    """Serves the application; gives its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan=lifespan))
    started = threading.Event()
    # uvicorn tells of its start by a flag alone; its `startup` returns once the sockets are open.
    start = server.startup

    async def startup(*arguments: Any, **options: Any) -> None:
        await start(*arguments, **options)
        started.set()

    server.startup = startup  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert started.wait(PATIENCE)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(PATIENCE)
