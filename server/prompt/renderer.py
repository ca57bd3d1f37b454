"""Rendering of a request for the engine: media plan, loaded media, prompt, and the account of what they cost."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from llava_interleave_serve.model_executor.visual import Visual
from llava_interleave_serve.server.engine.base import ModelFacts
from llava_interleave_serve.server.engine.tool_calls import structure
from llava_interleave_serve.server.errors import ContextOverflow, LimitExceeded
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.fair_threads import FairThreads
from llava_interleave_serve.server.media.loader import MediaLoader
from llava_interleave_serve.server.media.requester import Requester
from llava_interleave_serve.server.media.video.sampling import Sampling
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.media_plan import PartPlan, plan_media
from llava_interleave_serve.server.prompt.prompt_writer import PromptWriter, text_overflow
from llava_interleave_serve.server.prompt.text.text_renderer import TextRenderer
from llava_interleave_serve.server.prompt.token_budget import SHIPPED, Step

# Of one long word, 4 MB of which is tokenised in 1.2 s and 0.6 GiB, so many at once; other text takes milliseconds.
PROMPT_THREADS = 2


class PartVisuals(NamedTuple):
    """The number of visuals that a part has, planned or loaded."""

    plan: PartPlan
    visuals: int

    @property
    def tokens(self) -> int:
        return self.visuals * self.plan.tokens_each


@dataclass(frozen=True, slots=True)
class LoadedPart:
    """The media of one part.

    Attributes:
        plan: the part's plan.
        views: uint8 [n, S, S, 3].
        sampled: which frames were sampled, if the part is a video.

    """

    plan: PartPlan
    views: np.ndarray
    sampled: dict[str, Any] | None = None

    @property
    def count(self) -> PartVisuals:
        return PartVisuals(self.plan, len(self.views))


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """The engine's input for a request.

    Attributes:
        token_ids: the prompt, with one placeholder for each visual.
        visuals: in the order of their placeholders.
        media_usage: visuals and tokens by part, as the client is told.

    """

    token_ids: list[int]
    visuals: list[Visual]
    media_usage: dict[str, Any]


class Renderer:
    """Renders requests for one model. Its methods raise RequestError and its subclasses.

    Attributes:
        texts: renders what is no conversation.


    separator: text after a visual. steps: tried in their order to meet `max_visual_tokens`. pools_low_detail: True to
    pool images of `detail: low`.

    """

    def __init__(
        self,
        facts: ModelFacts,
        limits: Limits,
        loader: MediaLoader,
        separator: str,
        steps: Sequence[Step] = SHIPPED,
        *,
        pools_low_detail: bool = False,
    ) -> None:
        self._facts, self._limits, self._loader, self._steps = facts, limits, loader, steps
        self._pools_low_detail = pools_low_detail
        self._writer = PromptWriter(facts.tokenizer, facts.image_token, separator)
        self._threads = FairThreads("prompt", PROMPT_THREADS)
        self.texts = TextRenderer(facts, limits, self._writer.tokenizer, self._threads)

    def close(self) -> None:
        self._threads.close()

    async def describe_cost(self, request: chat_request.ChatRequest, requester: Requester) -> dict[str, Any]:
        """The most that the request can cost, as `/v1/chat/completions/plan` answers it. Fetches and runs nothing."""
        return await self._threads.run(requester, self._describe_cost, request)

    def _describe_cost(self, request: chat_request.ChatRequest) -> dict[str, Any]:
        parts = self.plan_media(request)
        visuals = {part.param: part.visuals for part in parts}
        token_ids = self._write(request, visuals)
        total = len(token_ids) + sum(part.tokens - part.visuals for part in parts)
        self._check_prompt_logprobs(request, total)
        left = max(0, self._facts.max_model_len - total)
        return {
            "object": "chat.completion.plan",
            "model": self._facts.name,
            "prompt_tokens": total,
            "max_tokens": left if request.most_tokens is None else min(request.most_tokens, left),
            "max_model_len": self._facts.max_model_len,
            "fits": left > 0,
            "exact": all(part.exact for part in parts),
            **_media_usage([_part_usage(PartVisuals(part, part.visuals)) for part in parts]),
        }

    async def tokenize(self, request: chat_request.ChatRequest, requester: Requester) -> list[int]:
        """The prompt's token ids, a placeholder for each token of a visual. Fetches nothing; videos have all frames."""
        return await self._threads.run(requester, self._tokenize, request)

    def _tokenize(self, request: chat_request.ChatRequest) -> list[int]:
        parts = self.plan_media(request)
        token_ids = self._write(request, {part.param: part.visuals for part in parts})
        tokens = iter([part.tokens_each for part in parts for _ in range(part.visuals)])
        placeholder = self._facts.image_token
        return [each for number in token_ids for each in ([number] * (next(tokens) if number == placeholder else 1))]

    def plan_media(self, request: chat_request.ChatRequest) -> list[PartPlan]:
        """The plans of the request's media parts, within the limits."""
        self._check_length(request)
        facts, limits = self._facts, self._limits
        return plan_media(request, facts.grid, limits, self._steps, pools_low_detail=self._pools_low_detail)

    def _check_length(self, request: chat_request.ChatRequest) -> None:
        """Raises ContextOverflow for texts so long that they need not even be tokenised."""
        texts = list(request.texts())
        # They have at least as many bytes as characters, which are known at once.
        most_bytes = self._facts.max_model_len * self._writer.longest_token
        if sum(map(len, texts)) > most_bytes or sum(len(text.encode()) for text in texts) > most_bytes:
            error = text_overflow(self._facts.max_model_len)
            raise ContextOverflow(error.message + self._cost_of_tools(request, is_counted=False), param=error.param)

    async def render(
        self, request: chat_request.ChatRequest, plans: Sequence[PartPlan], requester: Requester
    ) -> RenderedPrompt:
        """Loads the media of the planned parts and writes the prompt, in a thread: long texts take long to tokenise.

        Only videos may turn out shorter than planned. So the prompt is written before anything is fetched, with the
        videos left out: a request that is too long even so is refused without a fetch. A request without videos is
        complete then; the others are written once more when the videos' frames have been counted.
        """
        known = [PartVisuals(plan, plan.visuals) for plan in plans if plan.exact]
        token_ids = await self._threads.run(requester, self._write_within_context, request, known)
        parts = await _gather(self._load(plan, requester) for plan in plans)
        if len(known) < len(parts):
            counted = [part.count for part in parts]
            token_ids = await self._threads.run(requester, self._write_within_context, request, counted)
        visuals = [Visual(view[None], part.plan.pooling) for part in parts for view in part.views]
        usage = _media_usage([_part_usage(part.count, part.sampled) for part in parts])
        return RenderedPrompt(token_ids, visuals, usage)

    def _write(self, request: chat_request.ChatRequest, visuals: Mapping[str, int]) -> list[int]:
        """The prompt with so many visuals of each part, by the part's path.

        Raises ContextOverflow for texts that alone are too long.
        """
        try:
            return self._writer.write(
                request.messages, visuals, self._facts.max_model_len, request.definitions, request.answer_beginning
            )
        except ContextOverflow as error:
            raise ContextOverflow(error.message + self._cost_of_tools(request), param=error.param) from None

    def _cost_of_tools(self, request: chat_request.ChatRequest, *, is_counted: bool = True) -> str:
        """What an error says of the tools in a prompt that is too long; empty without tools."""
        if not request.definitions:
            return ""
        most, cost = self._facts.max_model_len, "many"
        if is_counted:
            tokens = self._writer.count(request.definitions, most)
            cost = f"{tokens}" if tokens <= most else f"more than {most}"
        return (
            f". The definitions of tools ({len(request.offered_tools)}) take {cost} of them: send fewer, or tool_choice"
            f" 'none'{'' if structure.is_forced(request.tool_choice) else ' (or let --auto-tools omit leave them out)'}"
        )

    def _write_within_context(self, request: chat_request.ChatRequest, parts: Sequence[PartVisuals]) -> list[int]:
        """The prompt with the visuals of these parts; other media parts are left out.

        Raises ContextOverflow if the prompt leaves no room for an answer.
        """
        visuals = {part.plan.param: part.visuals for part in parts}
        counts = {param: visuals.get(param, 0) for param, _ in request.media_parts()}
        token_ids = self._write(request, counts)
        visual_tokens = sum(part.tokens for part in parts)
        total = len(token_ids) + visual_tokens - sum(counts.values())
        if total >= self._facts.max_model_len:
            costs = "; ".join(
                f"{part.plan.param}: {part.tokens} ({part.visuals} x {part.plan.tokens_each})" for part in parts
            )
            raise ContextOverflow(
                f"the prompt takes {total} tokens, and this model's context has {self._facts.max_model_len}. Send "
                f"fewer or pooled visuals, or set max_visual_tokens. text: {total - visual_tokens}"
                f"{'; ' if costs else ''}{costs}{self._cost_of_tools(request)}",
                param="messages",
            )
        self._check_prompt_logprobs(request, total)
        return token_ids

    def _check_prompt_logprobs(self, request: chat_request.ChatRequest, tokens: int) -> None:
        """Raises LimitExceeded for more log probabilities of the prompt than a request may ask for."""
        each, most = request.prompt_logprobs, self._limits.max_prompt_logprobs
        if each is not None and tokens * (each + 1) > most:
            raise LimitExceeded(
                f"prompt_logprobs: {tokens} tokens with {each + 1} each are more than the {most} of a prompt that this "
                "server allows",
                param="prompt_logprobs",
            )

    async def _load(self, plan: PartPlan, requester: Requester) -> LoadedPart:
        options, param = plan.options, plan.param
        match options:
            case chat_request.VideoUrl():
                sampling = Sampling(plan.num_frames, options.fps, options.start, options.end)
                video = await self._loader.load_video(options.url, sampling, requester, param=param)
                sampled = {
                    "frames": video.indices,
                    "times": video.times,
                    "duration": video.duration,
                    "fps": round(video.fps, 3),
                }
                return LoadedPart(plan, video.frames, sampled)
            case chat_request.VideoFrames():
                sources = [(frame.url, f"{param}.frames[{number}]") for number, frame in enumerate(options.frames)]
            case chat_request.MultiView():
                sources = [(view.url, f"{param}.views[{number}]") for number, view in enumerate(options.views)]
            case _:
                sources = [(options.url, param)]
        views = await _gather(self._loader.load_image(url, requester, param=path) for url, path in sources)
        return LoadedPart(plan, np.concatenate(views))


async def _gather(coroutines: Iterable[Any]) -> list[Any]:
    """The results of several coroutines; the first that fails cancels the others, and its exception is raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await _cancel(tasks)
        # The exception's traceback holds this frame, and its task the exception: without this, what the frames of the
        # traceback hold, a whole image say, would stay until the garbage collector runs.
        tasks.clear()


async def _cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancels what has not ended, and waits until all have."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _part_usage(part: PartVisuals, sampled: dict[str, Any] | None = None) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "param": part.plan.param,
        "type": part.plan.part.type,
        "visuals": part.visuals,
        "tokens": part.tokens,
        "pooling": part.plan.pooling.mode,
        "pool_stride": part.plan.pooling.stride,
    }
    if part.plan.low_detail is not None:
        usage["low_detail"] = part.plan.low_detail
    return usage | {"sampled": sampled} if sampled is not None else usage


def _media_usage(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "visuals": sum(part["visuals"] for part in parts),
        "visual_tokens": sum(part["tokens"] for part in parts),
        "parts": parts,
    }
