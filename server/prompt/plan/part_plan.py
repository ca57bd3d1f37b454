"""What one media part of a request will become: visuals, views and tokens."""

from dataclasses import dataclass, replace

from llava_interleave_serve.model_executor.any_resolution import AnyResolution, Layout, Size
from llava_interleave_serve.model_executor.visual import (
    Pooling,
    Resizing,
    VideoNewline,
    frame_newlines,
    view_tokens,
)
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.media_options import ImageUrl, MediaOptions, VideoUrl


@dataclass(frozen=True, slots=True)
class PartPlan:
    """Visuals that one part of a message will become, made and pooled alike.

    Attributes:
        param: path of the part's options in the request.
        part: the part itself.
        visuals: at most so many visuals.
        pooling: pooling of each of them.
        grid: patches along the side of a view.
        num_frames: frames to sample, for a video that is not sampled by fps.
        exact: True if the number of visuals and their tokens follow from the request alone.
        is_pinned: True if the pooling is not to be changed.
        resizing: how the views of a picture are made.
        newline: where the checkpoint's trained newline is put among visuals of one view.
        is_joined: True if nothing stands between the visuals in the prompt.
        any_resolution: of an image with this resizing, else None.
        size: width and height of such an image; None if they are not known yet.

    """

    param: str
    part: chat_request.MediaPart
    visuals: int
    pooling: Pooling
    grid: int
    num_frames: int | None = None
    exact: bool = True
    is_pinned: bool = False
    resizing: Resizing = "squash"
    newline: VideoNewline = "no_token"
    is_joined: bool = False
    any_resolution: AnyResolution | None = None
    size: Size | None = None

    def tokens_of(self, visuals: int) -> int:
        """Tokens that so many visuals of the part take; of an image whose size is not known, at most."""
        if self.any_resolution is not None:
            return self.layout.num_tokens if self.layout is not None else self.any_resolution.max_tokens
        if visuals < 1:
            return 0
        first, last = frame_newlines(self.newline, 2)
        return (visuals - 1) * view_tokens(self.pooling, first, self.grid) + view_tokens(self.pooling, last, self.grid)

    def tokens_of_each(self, visuals: int) -> list[int]:
        """Tokens of each of so many visuals, in their order; of an image whose size is not known, at most."""
        if self.any_resolution is not None:
            return [self.tokens_of(visuals)]
        return [view_tokens(self.pooling, each, self.grid) for each in frame_newlines(self.newline, visuals)]

    @property
    def tokens(self) -> int:
        return self.tokens_of(self.visuals)

    @property
    def views(self) -> int:
        """Squares of pixels that the tower encodes; of an image whose size is not known, at most."""
        if self.any_resolution is None:
            return self.visuals
        return self.any_resolution.max_views if self.layout is None else self.layout.num_views

    @property
    def layout(self) -> Layout | None:
        """The layout of an image through any resolution whose size is known."""
        if self.any_resolution is None or self.size is None:
            return None
        return self.any_resolution.layout(*self.size)

    @property
    def options(self) -> MediaOptions:
        return chat_request.options_of(self.part)

    @property
    def low_detail(self) -> str | None:
        """What became of an image's `detail: low`, `pool` or `ignore`; None for other parts."""
        options = self.options
        if not isinstance(options, ImageUrl) or options.detail != "low":
            return None
        return "pool" if self.is_pinned else "ignore"

    @property
    def frames_are_free(self) -> bool:
        """True for a video whose number of frames the client left to the server."""
        options = self.options
        return isinstance(options, VideoUrl) and options.num_frames is None and options.fps is None

    def with_pooling(self, pooling: Pooling) -> "PartPlan":
        """The part as one view a visual, and with another pooling; what the client chose of the two is kept."""
        plan = self
        if self.any_resolution is not None:
            options = self.options
            if isinstance(options, ImageUrl) and (options.detail == "high" or options.resizing == "anyres"):
                return self
            plan = replace(self, resizing="squash", any_resolution=None, exact=True)
        return plan if self.is_pinned else replace(plan, pooling=pooling)

    def with_frames(self, frames: int) -> "PartPlan":
        """The part with so many frames, if it is a video whose number of frames is free."""
        return replace(self, visuals=frames, num_frames=frames) if self.frames_are_free else self

    def with_size(self, size: Size) -> "PartPlan":
        """The part with the size of its image."""
        return replace(self, size=size, exact=True)

    def cost(self, visuals: int) -> str:
        """The part's path and the tokens of so many visuals, for an error."""
        tokens, each = self.tokens_of(visuals), self.tokens_of(1)
        count = f"{visuals} x {each}" if tokens == visuals * each else f"{visuals} visuals"
        return f"{self.param}: {tokens} ({count})"
