"""The engine: what the routes need of it, and vLLM behind it."""

import gc
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from llava_interleave_serve.model_executor.visual import Pooling, Visual
from llava_interleave_serve.server.config import DEMO_CHECKPOINT, ServerConfig
from llava_interleave_serve.server.engine.encoder_timing import EncoderClock
from llava_interleave_serve.server.observability.timing import Phases

ARCHITECTURE = "LlavaInterleaveForConditionalGeneration"
WARM_UP_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the front end must know of the model. tokenizer: as the JSON text of `tokenizer.json`."""

    name: str
    max_model_len: int
    image_size: int
    grid: int
    image_token: int
    tokenizer: str


class Engine(Protocol):
    """A model that answers rendered prompts."""

    @property
    def facts(self) -> ModelFacts: ...

    @property
    def alive(self) -> bool:
        """False once the engine has died; it does not come back."""
        ...

    async def chat(
        self, token_ids: list[int], visuals: list[Visual], sampling: dict[str, Any], phases: Phases
    ) -> dict[str, Any] | AsyncGenerator[str, None]:
        """The whole answer as OpenAI's object or, with `stream` in sampling, its server-sent events.

        token_ids: with one placeholder for each of the visuals. phases: the engine's are written to it, at the latest
        before the last event. Raises ServeError.
        """
        ...

    async def warm_up(self) -> None:
        """Runs once what clients may ask for and what is slow the first time."""
        ...

    def close(self) -> None: ...


def prepare_environment(enforce_eager: bool, is_demo: bool = False) -> None:
    """Settings that vLLM reads from the environment; what the operator has set stays."""
    if is_demo:
        # GiB of KV blocks on a CPU, 68 contexts of the demo; else nearly all memory would be taken for them.
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # On a CPU vLLM gives a model that needs one process two of them, unless told so; AsyncLLM keeps one all the same.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    if enforce_eager:
        # vLLM compiles small helpers (of logprobs, say) even in eager mode, 3 to 25 s on a CPU while nobody is served.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")


class VllmEngine:
    """vLLM's AsyncLLM: the model runs in a process of its own. Must be made inside a running event loop."""

    def __init__(self, config: ServerConfig) -> None:
        from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415 - 7 s of imports
        from llava_interleave_serve.server.engine.vllm_chat import RenderedChat  # noqa: PLC0415

        args = config.engine_args
        prepare_environment(args.enforce_eager, config.model == str(DEMO_CHECKPOINT))
        # vLLM's batches are larger for a server than where it is not told what it is for.
        self._llm = llm = vllm_compat.AsyncLLM.from_engine_args(
            args, usage_context=vllm_compat.UsageContext.OPENAI_API_SERVER
        )
        models = vllm_compat.OpenAIServingModels(
            llm, [vllm_compat.BaseModelPath(name=config.model_name, model_path=config.model)]
        )
        renderer = vllm_compat.OnlineRenderer(
            llm.model_config,
            llm.renderer,
            request_logger=None,
            chat_template=None,
            chat_template_content_format="auto",
        )
        self._chat = RenderedChat(
            llm,
            models,
            "assistant",
            online_renderer=renderer,
            request_logger=None,
            chat_template=None,
            chat_template_content_format="auto",
            enable_prompt_tokens_details=True,
        )
        if args.enable_mm_processor_stats:
            self._chat.encoder_clock = EncoderClock(lambda: llm.collective_rpc("get_encoder_timing_stats"))
        checkpoint = llm.model_config.hf_config
        vision = checkpoint.vision_config
        self._facts = ModelFacts(
            name=config.model_name,
            max_model_len=llm.model_config.max_model_len,
            image_size=vision.image_size,
            grid=vision.image_size // vision.patch_size,
            image_token=checkpoint.image_token_index,
            tokenizer=llm.renderer.get_tokenizer().backend_tokenizer.to_str(),
        )

    @property
    def facts(self) -> ModelFacts:
        return self._facts

    @property
    def alive(self) -> bool:
        return not self._llm.errored

    async def chat(
        self, token_ids: list[int], visuals: list[Visual], sampling: dict[str, Any], phases: Phases
    ) -> dict[str, Any] | AsyncGenerator[str, None]:
        from llava_interleave_serve.server.engine.vllm_chat import RenderedRequest  # noqa: PLC0415

        return await self._chat.answer(RenderedRequest.of(token_ids, visuals, sampling, phases))

    async def warm_up(self) -> None:
        facts = self._facts
        views = np.zeros((1, facts.image_size, facts.image_size, 3), np.uint8)
        visuals = [Visual(views), Visual(views + 1, Pooling("bilinear", 2))]
        schema = {"type": "json_schema", "json_schema": {"name": "warm_up", "schema": WARM_UP_SCHEMA}}
        for sampling in ({"logprobs": True, "top_logprobs": 1}, {"response_format": schema}):
            await self.chat([facts.image_token, facts.image_token], visuals, {"max_tokens": 2, **sampling}, Phases())
        # What is loaded by now is never freed; looking through it all for garbage would halt every stream for 0.3 s.
        gc.collect()
        gc.freeze()

    def close(self) -> None:
        self._llm.shutdown()
