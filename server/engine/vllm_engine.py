"""vLLM's AsyncLLM as the server's engine."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import numpy as np

from llava_interleave_serve.model_executor import visual_counters
from llava_interleave_serve.model_executor.visual import Pooling, Visual, VisualFormat
from llava_interleave_serve.server.engine import memory, output_penalty
from llava_interleave_serve.server.engine.base import ModelFacts, TextPrompt
from llava_interleave_serve.server.engine.defaults import ENCODER_CACHE
from llava_interleave_serve.server.engine.encoder_timing import EncoderTiming
from llava_interleave_serve.server.engine.logprobs.token_bytes import TokenBytes
from llava_interleave_serve.server.observability import metrics
from llava_interleave_serve.server.observability.timing import RequestTiming

logger = logging.getLogger("llava_interleave_serve")
WARM_UP_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def warm_up_visuals(
    image_size: int, visual_format: VisualFormat, *, max_tokens: int, max_visuals: int, on_cpu: bool
) -> list[list[Visual]]:
    """The visuals of two requests that reach what a GPU loads on first use: a tower call of one view and one of four.

    On a CPU the second has one too: nothing is loaded there, and a view may take seconds. Where the checkpoint has any
    resolution, the first request's visual has several views, if the context of so many tokens has room for it.
    """
    views = np.zeros((1, image_size, image_size, 3), np.uint8)
    pooled = [Pooling("bilinear", 2), Pooling("average", 2), Pooling("max", 2), Pooling("average", 4)]
    pooled = pooled[: 1 if on_cpu else max_visuals]
    first = Visual(views)
    if (any_resolution := visual_format.any_resolution) is not None:
        layout = any_resolution.layout(image_size, image_size)
        if layout.num_tokens < max_tokens:
            first = Visual(np.repeat(views, layout.num_views, 0), layout=layout)
    return [[first], [Visual(views + 1 + index, pooling) for index, pooling in enumerate(pooled)]]


def engine_config(
    engine_args: Any, *, sizes_memory: bool, headless: bool = False
) -> tuple[Any, int | None, int | None]:
    """vLLM's configuration of AsyncEngineArgs, the same on every machine of a model.

    sizes_memory: as VllmEngine has it. headless: True on the machines that have no HTTP server.
    Returns it with the memory of the device (None on a CPU), and the memory of a CPU by which the KV blocks are sized
    (None if they are not).
    """
    from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415 - 7 s of imports

    # vLLM's batches are larger for a server than where it is not told what it is for.
    vllm_config = engine_args.create_engine_config(vllm_compat.UsageContext.OPENAI_API_SERVER, headless=headless)
    if _visual_format(vllm_config.model_config.hf_config) is not None:
        output_penalty.add_processor(vllm_config)
    device_bytes = vllm_compat.device_bytes()
    if not sizes_memory:
        return vllm_config, device_bytes, None
    if device_bytes is not None:
        memory.reserve_outputs(vllm_config, device_bytes)
        return vllm_config, device_bytes, None
    free_bytes = vllm_compat.free_bytes(vllm_config.parallel_config.local_world_size)
    return vllm_config, None, free_bytes if memory.take_free_memory(vllm_config, free_bytes) else None


def _visual_format(checkpoint: Any) -> VisualFormat | None:
    """How a checkpoint of the authors' format shows visuals; None for the hub's format."""
    visual_format: VisualFormat | None = getattr(checkpoint, "visual_format", None)
    return visual_format


class VllmEngine:
    """vLLM's AsyncLLM; the model runs in a process of its own. Must be made inside a running event loop.

    engine_args: vLLM's AsyncEngineArgs. name: the name under which the model is served. sizes_memory: True if the
    operator has not said how much of the memory is taken: room for kept encoder outputs is left on a GPU, and on a CPU
    KV blocks get what is free. adapters: names and folders of LoRA adapters, for `load_adapters`.
    """

    def __init__(
        self, engine_args: Any, name: str, *, sizes_memory: bool = False, adapters: Sequence[tuple[str, str]] = ()
    ) -> None:
        from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415 - 7 s of imports
        from llava_interleave_serve.server.engine.completions.vllm_completion import (  # noqa: PLC0415
            RenderedCompletions,
        )
        from llava_interleave_serve.server.engine.forgetful_llm import ForgetfulLLM  # noqa: PLC0415
        from llava_interleave_serve.server.engine.vllm_chat import RenderedChat  # noqa: PLC0415

        counters = None
        if engine_args.ec_manager_config.encoder_cache_manager_cls == ENCODER_CACHE:
            counters = visual_counters.create()
            engine_args.ec_manager_config.manager_config["counters"] = str(counters)
            metrics.VISUAL_CACHE.read_from(visual_counters.open_lines(counters))
        try:
            vllm_config, device_bytes, free_bytes = engine_config(engine_args, sizes_memory=sizes_memory)
            self._llm = llm = ForgetfulLLM.from_vllm_config(
                vllm_config,
                usage_context=vllm_compat.UsageContext.OPENAI_API_SERVER,
                enable_log_requests=engine_args.enable_log_requests,
                disable_log_stats=engine_args.disable_log_stats,
            )
        finally:
            if counters is not None:
                counters.unlink()  # the engine's processes have opened it, or will not
        self._max_visuals = engine_args.limit_mm_per_prompt["image"]
        logger.info(memory.describe(vllm_config, device_bytes, free_bytes))
        self._models = models = vllm_compat.OpenAIServingModels(
            llm,
            [vllm_compat.BaseModelPath(name=name, model_path=engine_args.model)],
            lora_modules=[vllm_compat.LoRAModulePath(*adapter) for adapter in adapters],
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
        self._completions = RenderedCompletions(
            llm, models, online_renderer=renderer, request_logger=None, enable_prompt_tokens_details=True
        )
        if engine_args.enable_mm_processor_stats:
            self._chat.encoder_timing = EncoderTiming(lambda: llm.collective_rpc("get_encoder_timing_stats"))
        checkpoint = llm.model_config.hf_config
        visual_format = _visual_format(checkpoint)
        if visual_format is not None:
            self._chat.penalise_output_alone()
            self._completions.penalise_output_alone()
        vision = checkpoint.vision_config
        self._facts = ModelFacts(
            name=name,
            max_model_len=llm.model_config.max_model_len,
            image_size=vision.image_size,
            grid=vision.image_size // vision.patch_size,
            image_token=checkpoint.image_token_index,
            tokenizer=llm.renderer.get_tokenizer().backend_tokenizer.to_str(),
            visual_format=visual_format or VisualFormat(),
            prompt_style="chat" if visual_format is None else "bench",
            transparency="white" if visual_format is None else "drop",
            sampling_defaults=self._chat.sampling_defaults,
            answer_ceiling=self._chat.override_max_tokens,
            adapters=tuple(adapter for adapter, _ in adapters),
        )
        with contextlib.suppress(ValueError):
            self._chat.token_bytes = TokenBytes(self._facts.tokenizer)

    @property
    def facts(self) -> ModelFacts:
        return self._facts

    @property
    def alive(self) -> bool:
        return not self._llm.errored

    async def check_sampling(self, sampling: dict[str, Any]) -> None:
        await asyncio.to_thread(self._chat.check, sampling)  # a schema is parsed, and words are tokenised

    async def check_completion(self, sampling: dict[str, Any]) -> None:
        await asyncio.to_thread(self._completions.check, sampling)

    async def chat(
        self,
        token_ids: list[int],
        visuals: list[Visual],
        sampling: dict[str, Any],
        timing: RequestTiming,
        cache_salt: str = "",
    ) -> dict[str, Any] | AsyncGenerator[str, None]:
        from llava_interleave_serve.server.engine.rendered_request import RenderedRequest  # noqa: PLC0415

        request = RenderedRequest.from_sampling(sampling)
        return await self._chat.answer(request.with_prompt(token_ids, visuals, timing, cache_salt))

    async def complete(
        self, prompts: list[TextPrompt], sampling: dict[str, Any], timing: RequestTiming, cache_salt: str = ""
    ) -> dict[str, Any] | AsyncGenerator[str, None]:
        from llava_interleave_serve.server.engine.completions.rendered_completion import (  # noqa: PLC0415
            RenderedCompletion,
        )

        request = RenderedCompletion.from_sampling(sampling)
        return await self._completions.answer(request.with_prompts(prompts, timing, cache_salt))

    async def load_adapters(self) -> None:
        """Loads the adapters that are not loaded yet. Raises ValueError, saying why one cannot be loaded."""
        if len(self._models.lora_requests) < len(self._facts.adapters):
            await self._models.init_static_loras()

    async def warm_up(self) -> None:
        from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415

        await self.load_adapters()
        facts = self._facts
        schema = {"type": "json_schema", "json_schema": {"name": "warm_up", "schema": WARM_UP_SCHEMA}}
        batches = warm_up_visuals(
            facts.image_size,
            facts.visual_format,
            max_tokens=facts.max_model_len - 2,
            max_visuals=self._max_visuals,
            on_cpu=vllm_compat.current_platform.is_cpu(),
        )
        samplings: list[dict[str, Any]] = [{"logprobs": True, "top_logprobs": 1}, {"response_format": schema}]
        for sampling, visuals in zip(samplings, batches, strict=True):
            prompt = [facts.image_token] * len(visuals)
            await self.chat(prompt, visuals, {"max_tokens": 2, **sampling}, RequestTiming())
        # Objects loaded by now are never freed; collecting garbage among them would halt every stream for 0.3 s.
        gc.collect()
        gc.freeze()

    def close(self) -> None:
        self._llm.shutdown()
        metrics.VISUAL_CACHE.read_from(None)
