"""The front end drops a request's pixels once the engine's process has them; here that process is only pretended."""

import asyncio
import contextlib
import gc
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from vllm.v1.engine import EngineCoreRequest, async_llm
from vllm.v1.serial_utils import MsgpackEncoder

from llava_interleave_serve.model_executor.visual import Pooling, Visual
from llava_interleave_serve.server import cli
from llava_interleave_serve.server.engine.vllm_engine import VllmEngine
from llava_interleave_serve.server.errors import ServeError
from llava_interleave_serve.server.observability.timing import RequestTiming

VISUALS, SIZE = 8, 112
PATIENCE = 60.0  # seconds


class SilentCore:
    """Stands for vLLM's client of the engine's process: takes requests as the real one does, and never answers."""

    engine_ranks_managed = (0,)
    resources = SimpleNamespace(engine_dead=False)

    def __init__(self) -> None:
        self.bytes_sent: list[int] = []
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    async def get_supported_tasks_async(self) -> tuple[str, ...]:
        return ("generate",)

    async def add_request_async(self, request: EngineCoreRequest) -> None:
        self.bytes_sent.append(sum(memoryview(part).nbytes for part in MsgpackEncoder().encode(request)))

    async def get_output_async(self) -> Any:
        return await self.answers.get()

    async def abort_requests_async(self, request_ids: list[str]) -> None:
        pass

    def shutdown(self, timeout: float | None = None) -> None:
        pass


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> SilentCore:
    core = SilentCore()
    monkeypatch.setattr(async_llm.EngineCoreClient, "make_async_mp_client", lambda **_: core)
    monkeypatch.setattr("llava_interleave_serve.server.engine.memory.describe", lambda *_: "")
    return core


def tensors_of_pixels() -> int:
    """The number of views in tensors that are alive."""
    gc.collect()
    tensors = [found for found in gc.get_objects() if type(found) is torch.Tensor and found.dtype == torch.uint8]
    return sum(int(tensor.numel()) for tensor in tensors if tensor.shape[-3:] == (SIZE, SIZE, 3)) // (SIZE * SIZE * 3)


async def until(condition: Any) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choices", [1, 2])
@pytest.mark.parametrize("salt", ["", "a key"])
@pytest.mark.anyio
async def test_a_request_that_waits_for_the_engine_holds_no_pixels(
    core: SilentCore, stream: bool, choices: int, salt: str
) -> None:
    engine, before = VllmEngine(cli.parse([]).engine_args, "demo"), tensors_of_pixels()  # of other tests, if any
    views = [np.random.default_rng(number).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8) for number in range(VISUALS)]
    visuals = [Visual(view, Pooling("bilinear", 2)) for view in views]
    alive = [weakref.ref(view) for view in views]
    del views

    async def answer() -> None:
        prompt = [engine.facts.image_token] * VISUALS
        answered: Any = await engine.chat(
            prompt, visuals, {"max_tokens": 4, "stream": stream, "n": choices}, RequestTiming(), salt
        )
        async for _ in answered:
            pass

    task = asyncio.create_task(answer())
    try:
        await until(lambda: len(core.bytes_sent) == choices or task.done())
        if task.done():
            await task  # raises what it failed of
        assert min(core.bytes_sent) > VISUALS * SIZE * SIZE * 3
        await until(lambda: not any(view() is not None for view in alive))
        assert tensors_of_pixels() <= before
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ServeError):
            await task
        engine.close()
