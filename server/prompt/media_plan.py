"""The media plan of a request: visuals and tokens of each part, fitted to `max_visual_tokens`, before any fetch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling
from llava_interleave_serve.server.errors import LimitExceeded, RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.video.sampling import DEFAULT_FRAMES
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.request_counts import media_parts_exceeded, visuals_exceeded
from llava_interleave_serve.server.prompt.token_budget import SHIPPED, Step

# The step used where the grid is too small for every step of an operator's table.
UNCHANGED = Step(pooling="none", stride=1, min_frames=1, max_frames=DEFAULT_FRAMES)
LOW_DETAIL = Pooling("bilinear", 2)  # of `detail: low`, where the operator has it pool


@dataclass(frozen=True, slots=True)
class PartPlan:
    """Visuals that one part of a message will become, pooled alike.

    Attributes:
        param: path of the part's options in the request.
        part: the part itself.
        visuals: at most so many visuals.
        pooling: pooling of each of them.
        grid: patches along the side of a view.
        num_frames: frames to sample, for a video that is not sampled by fps.
        exact: True if the number of visuals follows from the request alone.
        is_pinned: True if the pooling is not to be changed.

    """

    param: str
    part: chat_request.MediaPart
    visuals: int
    pooling: Pooling
    grid: int
    num_frames: int | None = None
    exact: bool = True
    is_pinned: bool = False

    @property
    def tokens_each(self) -> int:
        return self.pooling.side(self.grid) ** 2

    @property
    def tokens(self) -> int:
        return self.visuals * self.tokens_each

    @property
    def options(self) -> chat_request.MediaOptions:
        options: chat_request.MediaOptions = getattr(self.part, self.part.type)
        return options

    @property
    def low_detail(self) -> str | None:
        """What became of an image's `detail: low`, `pool` or `ignore`; None for other parts."""
        options = self.options
        if not isinstance(options, chat_request.ImageUrl) or options.detail != "low":
            return None
        return "pool" if self.is_pinned else "ignore"

    @property
    def frames_are_free(self) -> bool:
        """True for a video whose number of frames the client left to the server."""
        options = self.options
        return isinstance(options, chat_request.VideoUrl) and options.num_frames is None and options.fps is None

    def with_pooling(self, pooling: Pooling) -> "PartPlan":
        """The part with another pooling, unless the client chose its pooling."""
        return self if self.is_pinned else replace(self, pooling=pooling)

    def with_frames(self, frames: int) -> "PartPlan":
        """The part with so many frames, if it is a video whose number of frames is free."""
        return replace(self, visuals=frames, num_frames=frames) if self.frames_are_free else self


def plan_media(
    request: chat_request.ChatRequest,
    grid: int,
    limits: Limits,
    steps: Sequence[Step] = SHIPPED,
    *,
    pools_low_detail: bool = False,
) -> list[PartPlan]:
    """The plans of a request's media parts, in the user's order.

    grid: patches along the side of a view. steps: tried in their order to meet `max_visual_tokens`. pools_low_detail:
    True to pool images of `detail: low`. Raises LimitExceeded for too many parts, frames or visuals, RequestError if
    `max_visual_tokens` cannot be met.
    """
    low_detail = LOW_DETAIL if pools_low_detail else None
    parts = [_part(param, part, grid, limits, low_detail) for param, part in request.media_parts()]
    if len(parts) > limits.max_media_parts:
        raise media_parts_exceeded(len(parts), limits, parts[limits.max_media_parts].param)
    if request.max_visual_tokens is not None:
        parts = fit_to_budget(parts, request.max_visual_tokens, steps, limits)
    _check_visuals(parts, limits)
    return parts


def _part(param: str, part: chat_request.MediaPart, grid: int, limits: Limits, low_detail: Pooling | None) -> PartPlan:
    options: chat_request.MediaOptions = getattr(part, part.type)
    pinned = options.pinned_pooling
    if isinstance(options, chat_request.ImageUrl) and options.detail == "low":
        pinned = low_detail
    pooling, is_pinned = pinned or UNPOOLED, pinned is not None
    try:
        pooling.side(grid)
    except ValueError as error:
        raise RequestError(f"{error}", param=f"{param}.pooling") from None
    match options:
        case chat_request.VideoUrl():
            frames = options.num_frames or DEFAULT_FRAMES
            if options.fps is not None:
                span = math.inf if options.end is None else (options.end - (options.start or 0.0)) * options.fps
                frames = limits.max_frames if math.isinf(span) else max(1, math.ceil(span))
            if frames > limits.max_frames:
                name = "num_frames" if options.fps is None else "fps"
                raise LimitExceeded(
                    f"this samples {frames} frames, more than the {limits.max_frames} allowed", param=f"{param}.{name}"
                )
            num_frames = frames if options.fps is None else None
            return PartPlan(param, part, frames, pooling, grid, num_frames, exact=False, is_pinned=is_pinned)
        case chat_request.VideoFrames():
            return PartPlan(param, part, len(options.frames), pooling, grid, is_pinned=is_pinned)
        case chat_request.MultiView():
            return PartPlan(param, part, len(options.views), pooling, grid, is_pinned=is_pinned)
        case _:
            return PartPlan(param, part, 1, pooling, grid, is_pinned=is_pinned)


def _check_visuals(parts: Sequence[PartPlan], limits: Limits) -> None:
    visuals = 0
    for part in parts:
        visuals += part.visuals
        if visuals > limits.max_visuals:
            raise visuals_exceeded(visuals, limits, part.param)


def fit_to_budget(parts: Sequence[PartPlan], budget: int, steps: Sequence[Step], limits: Limits) -> list[PartPlan]:
    """The parts in at most `budget` visual tokens; nothing that the client chose is changed.

    1. The parts as requested, if they fit.
    2. Else the first step with which they fit, with as many frames as fit, the same number for each video.
    3. Else the last step with fewer frames than its minimum.

    Raises RequestError naming the fewest tokens that the parts can take.
    """
    requested = list(parts)
    if _tokens(requested) <= budget:
        return requested
    possible = [step for step in steps if all(part.grid >= step.stride for part in parts)]
    possible = possible or [UNCHANGED]
    for step, floor in [*((step, step.min_frames) for step in possible), (possible[-1], 1)]:
        pooled = [part.with_pooling(step.as_pooling) for part in parts]
        for frames in range(min(step.max_frames, limits.max_frames), floor - 1, -1):
            candidate = [part.with_frames(frames) for part in pooled]
            has_room = frames <= DEFAULT_FRAMES or _visuals(candidate) <= limits.max_visuals
            if _tokens(candidate) <= budget and has_room:
                return candidate
    least = _tokens([part.with_frames(1) for part in pooled])
    raise RequestError(
        f"max_visual_tokens is {budget}, but the request's media takes at least {least}", param="max_visual_tokens"
    )


def _tokens(parts: Sequence[PartPlan]) -> int:
    return sum(part.tokens for part in parts)


def _visuals(parts: Sequence[PartPlan]) -> int:
    return sum(part.visuals for part in parts)
