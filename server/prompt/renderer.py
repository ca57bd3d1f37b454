"""Rendering of a request for the engine: media plan, loaded media, prompt, and the account of what they cost."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llava_interleave_serve.model_executor.any_resolution import Size
from llava_interleave_serve.model_executor.visual import Visual
from llava_interleave_serve.server.engine.base import ModelFacts
from llava_interleave_serve.server.engine.tool_calls import structure
from llava_interleave_serve.server.errors import ContextOverflow, LimitExceeded, RequestError
from llava_interleave_serve.server.media.data_url import is_data_url
from llava_interleave_serve.server.media.fair_threads import FairThreads
from llava_interleave_serve.server.media.image.picture import Picture
from llava_interleave_serve.server.media.loader import MediaLoader
from llava_interleave_serve.server.media.requester import Requester
from llava_interleave_serve.server.media.video.sampling import Sampling
from llava_interleave_serve.server.prompt import beam_search, chat_request
from llava_interleave_serve.server.prompt.media_options import ImageUrl, MultiView, VideoFrames, VideoUrl
from llava_interleave_serve.server.prompt.plan.media_plan import PlanRules, plan_media, requested_parts
from llava_interleave_serve.server.prompt.plan.part_plan import PartPlan
from llava_interleave_serve.server.prompt.plan.part_visuals import LoadedPart, PartVisuals, media_usage, part_usage
from llava_interleave_serve.server.prompt.prompt_writer import PromptWriter, text_overflow
from llava_interleave_serve.server.prompt.text.text_renderer import TextRenderer

# Of one long word, 4 MB of which is tokenised in 1.2 s and 0.6 GiB, so many at once; other text takes milliseconds.
PROMPT_THREADS = 2


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

    @property
    def tokens(self) -> int:
        """The length of the prompt in the engine."""
        visual_tokens: int = self.media_usage["visual_tokens"]
        return len(self.token_ids) - len(self.visuals) + visual_tokens


class Renderer:
    """Renders requests for one model. Its methods raise RequestError and its subclasses.

    separator: text after a visual in the style `chat`. rules: what its plans depend on.

    Attributes:
        texts: renders what is no conversation.

    """

    def __init__(self, facts: ModelFacts, loader: MediaLoader, separator: str, rules: PlanRules) -> None:
        self._facts, self._loader, self._rules = facts, loader, rules
        self._writer = PromptWriter(facts.tokenizer, facts.image_token, separator)
        self._threads = FairThreads("prompt", PROMPT_THREADS)
        self.texts = TextRenderer(facts, rules.limits, self._writer.tokenizer, self._threads)

    def close(self) -> None:
        self._threads.close()

    def most_tokens(self, request: chat_request.ChatRequest, prompt_tokens: int) -> int:
        """The most tokens that the answer can have behind a prompt of so many."""
        return self._facts.most_tokens(request.most_tokens, max(0, self._facts.max_model_len - prompt_tokens))

    async def describe_cost(self, request: chat_request.ChatRequest, requester: Requester) -> dict[str, Any]:
        """The most that the request can cost, as `/v1/chat/completions/plan` answers it. Fetches and runs nothing."""
        parts = await self.plan_media(request, requester)
        return await self._threads.run(requester, self._describe_cost, request, parts)

    def _describe_cost(self, request: chat_request.ChatRequest, parts: Sequence[PartPlan]) -> dict[str, Any]:
        token_ids = self._write(request, [PartVisuals(part, part.visuals) for part in parts])
        total = len(token_ids) + sum(part.tokens - part.visuals for part in parts)
        most_tokens = self.most_tokens(request, total)
        self._check_costs(request, parts, total, most_tokens)
        return {
            "object": "chat.completion.plan",
            "model": request.model or self._facts.name,
            "prompt_tokens": total,
            "max_tokens": most_tokens,
            "max_model_len": self._facts.max_model_len,
            "fits": total < self._facts.max_model_len,
            "exact": all(part.exact for part in parts),
            **media_usage([part_usage(PartVisuals(part, part.visuals)) for part in parts]),
        }

    async def tokenize(self, request: chat_request.ChatRequest, requester: Requester) -> list[int]:
        """The prompt's token ids, a placeholder for each token of a visual. Fetches nothing; videos have all frames."""
        parts = await self.plan_media(request, requester)
        return await self._threads.run(requester, self._tokenize, request, parts)

    def _tokenize(self, request: chat_request.ChatRequest, parts: Sequence[PartPlan]) -> list[int]:
        token_ids = self._write(request, [PartVisuals(part, part.visuals) for part in parts])
        each_visual = [number for part in parts for number in part.tokens_of_each(part.visuals)]
        total, most = len(token_ids) + sum(each_visual) - len(each_visual), self._facts.max_model_len
        if total > most:
            raise ContextOverflow(
                f"the prompt takes {total} tokens, and this model's context has {most}", param="messages"
            )
        tokens, placeholder = iter(each_visual), self._facts.image_token
        return [each for number in token_ids for each in ([number] * (next(tokens) if number == placeholder else 1))]

    async def plan_media(self, request: chat_request.ChatRequest, requester: Requester) -> list[PartPlan]:
        """The plans of the request's media parts, within the limits. Fetches nothing.

        Of an image through any resolution whose size the request does not state, the header is read if it is there,
        in a data URL.
        """
        self._check_length(request)
        here = [
            (part.param, part.options.url)
            for part in requested_parts(request, self._rules)
            if part.any_resolution is not None
            and part.size is None
            and isinstance(part.options, ImageUrl)
            and is_data_url(part.options.url)
        ]
        sizes = await _gather(self._loader.read_size(url, requester, param=param) for param, url in here)
        known = {param: size for (param, _), size in zip(here, sizes, strict=True)}
        return plan_media(request, self._rules, known)

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

        Videos may turn out shorter than planned, and images through any resolution smaller. So the prompt is written
        before anything is fetched, with these left out: a request that is too long even so is refused without a fetch.
        A request without them is complete then; the others are written once more when the frames have been counted.
        """
        known = [PartVisuals(plan, plan.visuals) for plan in plans if plan.exact]
        token_ids = await self._threads.run(requester, self._write_within_context, request, known)
        parts = await _gather(self._load(plan, requester) for plan in plans)
        if len(known) < len(parts):
            counted = [part.count for part in parts]
            token_ids = await self._threads.run(requester, self._write_within_context, request, counted)
        visuals = [visual for part in parts for visual in part.visuals]
        usage = media_usage([part_usage(part.count, part.sampled) for part in parts])
        return RenderedPrompt(token_ids, visuals, usage)

    def _write_within_context(self, request: chat_request.ChatRequest, parts: Sequence[PartVisuals]) -> list[int]:
        """The prompt with the visuals of these parts; other media parts are left out.

        Raises ContextOverflow if the prompt leaves no room for an answer.
        """
        token_ids = self._write(request, parts)
        visual_tokens = sum(part.tokens for part in parts)
        total = len(token_ids) + visual_tokens - sum(part.visuals for part in parts)
        if total >= self._facts.max_model_len:
            costs = "; ".join(part.plan.cost(part.visuals) for part in parts)
            raise ContextOverflow(
                f"the prompt takes {total} tokens, and this model's context has {self._facts.max_model_len}. Send "
                f"fewer or pooled visuals, or set max_visual_tokens. text: {total - visual_tokens}"
                f"{'; ' if costs else ''}{costs}{self._cost_of_tools(request)}",
                param="messages",
            )
        self._check_costs(request, [part.plan for part in parts], total, self.most_tokens(request, total))
        return token_ids

    def _write(self, request: chat_request.ChatRequest, parts: Sequence[PartVisuals]) -> list[int]:
        """The prompt with the visuals of these parts; other media parts are left out.

        Raises ContextOverflow for texts that alone are too long.
        """
        visuals = {param: () for param, _ in request.media_parts()} | {
            part.plan.param: (part.visuals,) if part.plan.is_joined else (1,) * part.visuals for part in parts
        }
        style, most = request.prompt_style or self._rules.style, self._facts.max_model_len
        tools, beginning = request.definitions, request.answer_beginning
        try:
            return self._writer.write(request.messages, visuals, most, style, tools, beginning)
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

    def _check_costs(
        self, request: chat_request.ChatRequest, parts: Sequence[PartPlan], tokens: int, most_tokens: int
    ) -> None:
        """Raises LimitExceeded for what depends on the prompt's tokens: its log probabilities, and the beams' memory.

        most_tokens: that the answer can have.
        """
        each, most = request.prompt_logprobs, self._rules.limits.max_prompt_logprobs
        if each is not None and tokens * (each + 1) > most:
            raise LimitExceeded(
                f"prompt_logprobs: {tokens} tokens with {each + 1} each are more than the {most} of a prompt that this "
                "server allows",
                param="prompt_logprobs",
            )
        pixels = 3 * self._facts.image_size**2 * sum(part.views for part in parts)
        beam_search.check_memory(request.sampling, tokens, most_tokens, pixels)

    async def _load(self, plan: PartPlan, requester: Requester) -> LoadedPart:
        options, param = plan.options, plan.param
        match options:
            case VideoUrl():
                sampling = Sampling(plan.num_frames, options.fps, options.start, options.end)
                video = await self._loader.load_video(options.url, sampling, requester, param=param)
                sampled = {
                    "frames": video.indices,
                    "times": video.times,
                    "duration": video.duration,
                    "fps": round(video.fps, 3),
                }
                return LoadedPart(plan, video.frames, sampled)
            case VideoFrames():
                sources = [(frame.url, f"{param}.frames[{number}]") for number, frame in enumerate(options.frames)]
            case MultiView():
                sources = [(view.url, f"{param}.views[{number}]") for number, view in enumerate(options.views)]
            case _:
                sources = [(options.url, param)]
        pictures: list[Picture] = await _gather(
            self._loader.load_image(url, requester, param=path, resizing=plan.resizing) for url, path in sources
        )
        if isinstance(options, ImageUrl):
            (picture,) = pictures
            return LoadedPart(_with_size(plan, options.size, picture), picture.views)
        return LoadedPart(plan, np.concatenate([picture.views for picture in pictures]))


def _with_size(plan: PartPlan, stated: Size | None, picture: Picture) -> PartPlan:
    """The plan with the picture's size. Raises RequestError if the client has stated another."""
    size = picture.width, picture.height
    if stated not in (None, size):
        words = " and not the ".join(f"{width}x{height}" for width, height in (size, stated))
        raise RequestError(f"the image has {words} pixels that the request states", param=f"{plan.param}.width")
    return plan.with_size(size)


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
