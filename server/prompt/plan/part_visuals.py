"""The visuals of a media part, planned or loaded, and the account of what they cost."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from llava_interleave_serve.model_executor.visual import Visual, frame_newlines
from llava_interleave_serve.server.prompt.plan.part_plan import PartPlan


class PartVisuals(NamedTuple):
    """The number of visuals that a part has, planned or loaded."""

    plan: PartPlan
    visuals: int

    @property
    def tokens(self) -> int:
        return self.plan.tokens_of(self.visuals)


@dataclass(frozen=True, slots=True)
class LoadedPart:
    """The media of one part.

    Attributes:
        plan: the part's plan, with the size of an image through any resolution.
        views: uint8 [n, S, S, 3], of all its visuals.
        sampled: which frames were sampled, if the part is a video.

    """

    plan: PartPlan
    views: np.ndarray
    sampled: dict[str, Any] | None = None

    @property
    def count(self) -> PartVisuals:
        return PartVisuals(self.plan, 1 if self.plan.layout is not None else len(self.views))

    @property
    def visuals(self) -> list[Visual]:
        plan = self.plan
        if plan.layout is not None:
            return [Visual(self.views, layout=plan.layout)]
        newlines = frame_newlines(plan.newline, len(self.views))
        return [Visual(view[None], plan.pooling, newline) for view, newline in zip(self.views, newlines, strict=True)]


def part_usage(part: PartVisuals, sampled: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a part has become, as the client is told. sampled: which frames, if the part is a video."""
    usage: dict[str, Any] = {
        "param": part.plan.param,
        "type": part.plan.part.type,
        "visuals": part.visuals,
        "tokens": part.tokens,
        "pooling": part.plan.pooling.mode,
        "pool_stride": part.plan.pooling.stride,
    }
    if part.plan.any_resolution is not None:
        usage |= {"views": part.plan.views, "size": part.plan.size}
    if part.plan.low_detail is not None:
        usage["low_detail"] = part.plan.low_detail
    return usage | {"sampled": sampled} if sampled is not None else usage


def media_usage(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Visuals and their tokens, in all and by part."""
    return {
        "visuals": sum(part["visuals"] for part in parts),
        "visual_tokens": sum(part["tokens"] for part in parts),
        "parts": parts,
    }
