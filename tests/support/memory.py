"""What code leaves in memory."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PATIENCE = 5.0  # seconds that threads may take to let go of what they worked on


@asynccontextmanager
async def freed_without_the_garbage_collector(most: int = 1 << 20) -> AsyncIterator[None]:
    """Asserts that the block leaves at most so many bytes in memory while the garbage collector is off."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while (left := tracemalloc.get_traced_memory()[0] - before) > most:
            assert asyncio.get_running_loop().time() < deadline, f"{left} bytes are still there"
            await asyncio.sleep(0.01)
    finally:
        tracemalloc.stop()
        gc.enable()
