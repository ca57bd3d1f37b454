"""The server's replicas over fake engines, for tests on a Ray cluster of this machine."""

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import Any

from llava_interleave_serve.model_executor.visual import Visual
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.engine.base import Engine
from llava_interleave_serve.server.observability.timing import RequestTiming
from tests.support.fakes.engine import FakeEngine


class ProcessEngine(FakeEngine):
    """Answers with the number of its process.

    Dies of requests for exactly DYING_TOKENS tokens, and never answers those for HELD_TOKENS.
    """

    DYING_TOKENS, HELD_TOKENS = 13, 14

    async def chat(
        self,
        token_ids: list[int],
        visuals: list[Visual],
        sampling: dict[str, Any],
        phases: RequestTiming,
        cache_salt: str = "",
    ) -> dict[str, Any] | AsyncGenerator[str, None]:
        if sampling.get("max_tokens") == self.DYING_TOKENS:
            self.alive = False
        if sampling.get("max_tokens") == self.HELD_TOKENS:
            await asyncio.Event().wait()
        answer = await super().chat(token_ids, visuals, sampling, phases, cache_salt)
        return {"choices": [{"message": {"content": str(os.getpid())}}]} if isinstance(answer, dict) else answer


def make_engine(config: ServerConfig) -> Engine:
    """The engine of a replica."""
    return ProcessEngine()
