"""The media plan of a request: visuals and tokens of each part, fitted to `max_visual_tokens`, before any fetch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llava_interleave_serve.model_executor.any_resolution import Size
from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling, VisualFormat
from llava_interleave_serve.server.engine.base import PromptStyle
from llava_interleave_serve.server.errors import LimitExceeded, RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.video.sampling import DEFAULT_FRAMES
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.media_options import ImageUrl, MultiView, VideoFrames, VideoUrl
from llava_interleave_serve.server.prompt.plan.part_plan import PartPlan
from llava_interleave_serve.server.prompt.plan.view_choice import ViewChoice
from llava_interleave_serve.server.prompt.request_counts import media_parts_exceeded, visuals_exceeded
from llava_interleave_serve.server.prompt.token_budget import SHIPPED, Step

# The step used where the grid is too small for every step of an operator's table.
UNCHANGED = Step(pooling="none", stride=1, min_frames=1, max_frames=DEFAULT_FRAMES)
LOW_DETAIL = Pooling("bilinear", 2)  # of `detail: low`, where the operator has it pool


@dataclass(frozen=True, slots=True)
class PlanRules:
    """What a plan depends on beside the request.

    Attributes:
        grid: patches along the side of a view.
        limits: of a request.
        steps: tried in their order to meet `max_visual_tokens`.
        pools_low_detail: True to pool images of `detail: low`.
        checkpoint: how the checkpoint reads pictures and videos.
        style: of a prompt whose request does not say.

    """

    grid: int
    limits: Limits
    steps: Sequence[Step] = SHIPPED
    pools_low_detail: bool = False
    checkpoint: VisualFormat = VisualFormat()
    style: PromptStyle = "chat"


def plan_media(
    request: chat_request.ChatRequest, rules: PlanRules, sizes: Mapping[str, Size] | None = None
) -> list[PartPlan]:
    """The plans of a request's media parts, in the user's order, within `max_visual_tokens`.

    sizes: width and height of images, by the path of their part. Raises LimitExceeded for too many parts, frames or
    views, RequestError for an option that the checkpoint cannot honour, and if `max_visual_tokens` cannot be met.
    """
    parts = requested_parts(request, rules)
    parts = [part.with_size(sizes[part.param]) if sizes and part.param in sizes else part for part in parts]
    if request.max_visual_tokens is not None:
        parts = fit_to_budget(parts, request.max_visual_tokens, rules.steps, rules.limits)
    _check_views(parts, rules.limits)
    return parts


def requested_parts(request: chat_request.ChatRequest, rules: PlanRules) -> list[PartPlan]:
    """The plans of a request's media parts, whatever its `max_visual_tokens`. Raises as `plan_media` does."""
    parts, limits = list(request.media_parts()), rules.limits
    if len(parts) > limits.max_media_parts:
        raise media_parts_exceeded(len(parts), limits, parts[limits.max_media_parts][0])
    choice = ViewChoice(rules.checkpoint, request.prompt_style or rules.style, is_alone=len(parts) == 1)
    return [_part(param, part, choice, rules) for param, part in parts]


def _part(param: str, part: chat_request.MediaPart, choice: ViewChoice, rules: PlanRules) -> PartPlan:
    options, limits = chat_request.options_of(part), rules.limits
    low_detail = LOW_DETAIL if rules.pools_low_detail else None
    pinned = choice.video_pooling(options, param) or options.pinned_pooling
    if isinstance(options, ImageUrl) and options.detail == "low":
        pinned = low_detail
    pooling = pinned or UNPOOLED
    try:
        pooling.side(rules.grid)
    except ValueError as error:
        raise RequestError(f"{error}", param=f"{param}.pooling") from None
    plan = PartPlan(param, part, 1, pooling, rules.grid, is_pinned=pinned is not None)
    plan = choice.apply(plan)
    match options:
        case VideoUrl():
            frames = options.num_frames or min(DEFAULT_FRAMES, limits.max_frames)
            if options.fps is not None:
                span = math.inf if options.end is None else (options.end - (options.start or 0.0)) * options.fps
                frames = limits.max_frames if math.isinf(span) else max(1, math.ceil(span))
            if frames > limits.max_frames:
                name = "num_frames" if options.fps is None else "fps"
                raise LimitExceeded(
                    f"this samples {frames} frames, more than the {limits.max_frames} allowed", param=f"{param}.{name}"
                )
            return replace(plan, visuals=frames, num_frames=frames if options.fps is None else None, exact=False)
        case VideoFrames():
            return replace(plan, visuals=len(options.frames))
        case MultiView():
            return replace(plan, visuals=len(options.views))
        case _:
            return plan


def _check_views(parts: Sequence[PartPlan], limits: Limits) -> None:
    views = 0
    for part in parts:
        views += part.views
        if views > limits.max_visuals:
            raise visuals_exceeded(views, limits, part.param)


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
        for frames in range(min(step.max_frames, limits.max_frames), min(floor, limits.max_frames) - 1, -1):
            candidate = [part.with_frames(frames) for part in pooled]
            has_room = frames <= DEFAULT_FRAMES or _views(candidate) <= limits.max_visuals
            if _tokens(candidate) <= budget and has_room:
                return candidate
    least = _tokens([part.with_frames(1) for part in pooled])
    raise RequestError(
        f"max_visual_tokens is {budget}, but the request's media takes at least {least}", param="max_visual_tokens"
    )


def _tokens(parts: Sequence[PartPlan]) -> int:
    return sum(part.tokens for part in parts)


def _views(parts: Sequence[PartPlan]) -> int:
    return sum(part.views for part in parts)
