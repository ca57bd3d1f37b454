"""The numbers of `max_visual_tokens`: which poolings to try in which order, and with how many frames a video.

The shipped ones, visual_budget.json, follow the paper's appendix, Table 1: fewer unpooled frames are at least as good
as more pooled ones at equal tokens (10 unpooled 52.9/3.48 and 3.38, 40 pooled by 2x2 52.8/3.53 and 3.35), and the
released weights never saw pooled frames: so frames go first, and pooling comes after. `llava-interleave eval ablation`
writes such a file from a user's own videos.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from llava_interleave_serve.model_executor.visual import Pooling, PoolingMode

Frames = Annotated[int, Field(strict=True, ge=1)]


class Step(BaseModel):
    """One thing to try: videos of max_frames down to min_frames frames, pooled so."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pooling: PoolingMode
    stride: Annotated[int, Field(strict=True)]
    min_frames: Frames
    max_frames: Frames

    @model_validator(mode="after")
    def _possible(self) -> "Step":
        Pooling(self.pooling, self.stride)
        if self.max_frames < self.min_frames:
            raise ValueError(f"max_frames is {self.max_frames}, less than min_frames, {self.min_frames}")
        return self

    @property
    def mode(self) -> Pooling:
        return Pooling(self.pooling, self.stride)


STEPS = TypeAdapter(Annotated[tuple[Step, ...], Field(min_length=1)])


def load(path: Path) -> tuple[Step, ...]:
    """The steps in a file. Raises OSError, and ValueError naming the field at fault."""
    try:
        return STEPS.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
        raise ValueError(f"{path.name}{place}: {first['msg'].removeprefix('Value error, ')}") from None


SHIPPED = load(Path(__file__).with_name("token_budget.json"))
