"""From a request to what the engine takes: the plan, the media, the visuals, the prompt, and an account of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llava_interleave_serve.model_executor.visual import Visual
from llava_interleave_serve.server.engine.vllm_engine import ModelFacts
from llava_interleave_serve.server.errors import ContextOverflow, LimitExceeded
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.loader import MediaLoader
from llava_interleave_serve.server.media.video.sampling import Sampling
from llava_interleave_serve.server.observability.timing import Phases
from llava_interleave_serve.server.prompt import chat_request, media_plan
from llava_interleave_serve.server.prompt.prompt_writer import PromptWriter
from llava_interleave_serve.server.prompt.token_budget import SHIPPED, Step


@dataclass(frozen=True, slots=True)
class RenderedPart:
    """A part's visuals as views, uint8 [n, S, S, 3], and what was sampled, if it is a video."""

    plan: media_plan.PartPlan
    views: np.ndarray
    sampled: dict[str, Any] | None = None

    @property
    def tokens(self) -> int:
        return len(self.views) * self.plan.tokens_each


@dataclass(frozen=True, slots=True)
class Rendered:
    """token_ids: with one placeholder a visual."""

    token_ids: list[int]
    visuals: list[Visual]
    account: dict[str, Any]


class Renderer:
    """Renders requests for one model. Raises RequestError and what derives from it. steps: of `max_visual_tokens`."""

    def __init__(
        self,
        facts: ModelFacts,
        limits: Limits,
        loader: MediaLoader,
        separator: str,
        steps: Sequence[Step] = SHIPPED,
    ) -> None:
        self._facts, self._limits, self._loader, self._steps = facts, limits, loader, steps
        self._writer = PromptWriter(facts.tokenizer, facts.image_token, separator)

    def plan(self, request: chat_request.ChatRequest) -> dict[str, Any]:
        """What the request would cost at most; nothing is fetched, nothing runs."""
        parts = self.parts(request)
        visuals = {part.param: part.visuals for part in parts}
        token_ids = self._writer.write(request.messages, visuals)
        costs = [_cost(part, part.visuals) for part in parts]
        total = len(token_ids) + sum(part.tokens - part.visuals for part in parts)
        return {
            "object": "chat.completion.plan",
            "model": self._facts.name,
            "prompt_tokens": total,
            "max_model_len": self._facts.max_model_len,
            "fits": total < self._facts.max_model_len,
            "exact": all(part.exact for part in parts),
            **_account(costs),
        }

    async def render(
        self, request: chat_request.ChatRequest, planned: Sequence[media_plan.PartPlan], phases: Phases
    ) -> Rendered:
        """Fetches and decodes the media of the request's `parts`, and writes the prompt."""
        # What cannot fit however short its videos turn out is refused before anything is fetched. Long texts take long
        # to tokenise, which other requests need not wait for.
        fixed = [(part, part.visuals) for part in planned if part.exact]
        token_ids = await asyncio.to_thread(self._check_length, request, fixed)
        parts = await _all(self._load(part, phases) for part in planned)
        if len(fixed) < len(parts):
            loaded = [(part.plan, len(part.views)) for part in parts]
            token_ids = await asyncio.to_thread(self._check_length, request, loaded)
        visuals = [Visual(view[None], part.plan.pooling) for part in parts for view in part.views]
        costs = [_cost(part.plan, len(part.views), part.sampled) for part in parts]
        return Rendered(token_ids, visuals, _account(costs))

    def parts(self, request: chat_request.ChatRequest) -> list[media_plan.PartPlan]:
        """What the request's media will be, within the limits."""
        if len(request.messages) > self._limits.max_messages:
            raise LimitExceeded(
                f"the request has {len(request.messages)} messages, more than the {self._limits.max_messages} allowed",
                param="messages",
            )
        texts = [part.text for message in request.messages for part in message.content if part.type == "text"]
        if len(texts) > self._limits.max_text_parts:
            raise LimitExceeded(
                f"the request has {len(texts)} text parts, more than the {self._limits.max_text_parts} allowed",
                param="messages",
            )
        # Not even tokenised: it would take minutes.
        if sum(map(len, texts)) > self._facts.max_model_len * self._writer.longest_token:
            raise ContextOverflow(
                f"the text alone takes more than the {self._facts.max_model_len} tokens of this model's context",
                param="messages",
            )
        return media_plan.plan(request, self._facts.grid, self._limits, self._steps)

    def _check_length(
        self, request: chat_request.ChatRequest, parts: Sequence[tuple[media_plan.PartPlan, int]]
    ) -> list[int]:
        """The prompt, if it leaves room for an answer."""
        known = {part.param: visuals for part, visuals in parts}
        counts = {param: known.get(param, 0) for param, _ in request.media_parts()}
        token_ids = self._writer.write(request.messages, counts)
        visual_tokens = sum(part.tokens_each * visuals for part, visuals in parts)
        total = len(token_ids) + visual_tokens - sum(counts.values())
        if total >= self._facts.max_model_len:
            costs = "; ".join(
                f"{part.param}: {part.tokens_each * visuals} ({visuals} x {part.tokens_each})"
                for part, visuals in parts
            )
            raise ContextOverflow(
                f"the prompt takes {total} tokens, and this model's context has {self._facts.max_model_len}: text "
                f"{total - visual_tokens}{'; ' if costs else ''}{costs}. Send fewer or pooled visuals, or set "
                "max_visual_tokens",
                param="messages",
            )
        return token_ids

    async def _load(self, plan: media_plan.PartPlan, phases: Phases) -> RenderedPart:
        options, param = plan.options, plan.param
        match options:
            case chat_request.VideoUrl():
                sampling = Sampling(plan.num_frames, options.fps, options.start, options.end)
                video = await self._loader.load_video(options.url, sampling, phases, param=param)
                sampled = {
                    "frames": video.indices,
                    "times": video.times,
                    "duration": video.duration,
                    "fps": round(video.fps, 3),
                }
                return RenderedPart(plan, video.frames, sampled)
            case chat_request.VideoFrames():
                sources = [(frame.url, f"{param}.frames[{at}]") for at, frame in enumerate(options.frames)]
            case chat_request.MultiView():
                sources = [(view.url, f"{param}.views[{at}]") for at, view in enumerate(options.views)]
            case _:
                sources = [(options.url, param)]
        views = await _all(self._loader.load_image(url, phases, param=place) for url, place in sources)
        return RenderedPart(plan, np.concatenate(views))


async def _all(work: Any) -> list[Any]:
    """The results of several coroutines; the first to fail cancels the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def _cost(plan: media_plan.PartPlan, visuals: int, sampled: dict[str, Any] | None = None) -> dict[str, Any]:
    cost: dict[str, Any] = {
        "param": plan.param,
        "type": plan.part.type,
        "visuals": visuals,
        "tokens": visuals * plan.tokens_each,
        "pooling": plan.pooling.mode,
        "pool_stride": plan.pooling.stride,
    }
    return cost | {"sampled": sampled} if sampled is not None else cost


def _account(costs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "visuals": sum(cost["visuals"] for cost in costs),
        "visual_tokens": sum(cost["tokens"] for cost in costs),
        "parts": costs,
    }
