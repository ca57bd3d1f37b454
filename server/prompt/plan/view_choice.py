"""Chooses how the visuals of a part are shown to the model: by its options, the checkpoint and the prompt's style."""

from dataclasses import dataclass, replace

from llava_interleave_serve.model_executor.visual import Pooling, Resizing, VideoNewline, VisualFormat
from llava_interleave_serve.server.engine.base import PromptStyle
from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.prompt.media_options import ImageUrl, MediaOptions, MultiView, VideoFrames, VideoUrl
from llava_interleave_serve.server.prompt.plan.part_plan import PartPlan


@dataclass(frozen=True, slots=True)
class ViewChoice:
    """The choices for the parts of one request, where a part leaves them open.

    An image that is alone is resized as the checkpoint's configuration says, through any resolution or padded, as the
    authors' `process_images` does; of several images, each is squashed to one view, as their evaluation does it. A
    trained newline stands after each view (a list of images in `model_vqa.py`), and nowhere in the demo's style (one
    stacked tensor).

    Attributes:
        checkpoint: how the checkpoint reads pictures and videos.
        style: of the prompt.
        is_alone: True if the request has a single media part.

    """

    checkpoint: VisualFormat
    style: PromptStyle
    is_alone: bool

    def video_pooling(self, options: MediaOptions, param: str) -> Pooling | None:
        """The pooling of a part of the modality `video`; None for other parts.

        Raises RequestError for frames of this modality that nothing says how to pool.
        """
        if not self._is_video(options):
            return None
        pooling = options.explicit_pooling or self.checkpoint.video_pooling
        if pooling is None:
            raise RequestError(
                "modality video is pooled frames, and neither pooling nor the checkpoint's mm_spatial_pool_mode says "
                "how: send pooling",
                param=f"{param}.modality",
            )
        return pooling

    def apply(self, plan: PartPlan) -> PartPlan:
        """The plan with the resizing, newline and order of its visuals. Raises RequestError for what cannot be had."""
        options = plan.options
        is_video = self._is_video(options)
        plan = replace(plan, newline=self._newline(options, is_video, plan.param), is_joined=is_video)
        resizing = self._resizing(options, plan)
        if resizing != "anyres":
            return replace(plan, resizing=resizing)
        size = options.size if isinstance(options, ImageUrl) else None
        any_resolution = self.checkpoint.any_resolution
        if any_resolution is None:
            raise RequestError("this checkpoint has no any resolution", param=f"{plan.param}.resizing")
        return replace(plan, resizing=resizing, any_resolution=any_resolution, size=size, exact=size is not None)

    def _is_video(self, options: MediaOptions) -> bool:
        if not isinstance(options, VideoUrl | VideoFrames):
            return False
        if options.modality is not None:
            return options.modality == "video"
        return self.checkpoint.video_pooling is not None

    def _resizing(self, options: MediaOptions, plan: PartPlan) -> Resizing:
        if isinstance(options, MultiView):
            return options.resizing or "squash"
        if not isinstance(options, ImageUrl):
            return "squash"
        if options.resizing is not None:
            return options.resizing
        wanted: Resizing = self.checkpoint.resizing if self.is_alone else "squash"
        if options.detail == "high" and self.checkpoint.any_resolution is not None:
            if options.newline is not None:
                raise RequestError(
                    "an image of any resolution has newlines of its own: leave out newline or detail",
                    param=f"{plan.param}.newline",
                )
            wanted = "anyres"
        is_one_view = options.detail == "low" or options.newline is not None or plan.pooling.mode != "none"
        return "squash" if wanted == "anyres" and is_one_view else wanted

    def _newline(self, options: MediaOptions, is_video: bool, param: str) -> VideoNewline:
        asked = options.newline
        if not self.checkpoint.has_newline:
            if asked not in (None, "no_token"):
                raise RequestError("this checkpoint has no trained newline", param=f"{param}.newline")
            return "no_token"
        if asked is not None:
            return asked
        if is_video:
            return self.checkpoint.video_newline
        return "no_token" if self.style == "demo" else "frame"
