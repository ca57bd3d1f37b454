"""Fields of the authors' configuration: each that changes what is computed is honoured or refused by its name.

Fields of other models (`mm_vision_select_layer` of CLIP towers, `mm_spatial_pool_out_channels` of resamplers) may have
the published values only; fields that the authors' inference does not read may have any.
"""

import ast
import re
from typing import Any

from llava_interleave_serve.model_executor.any_resolution import AnyResolution
from llava_interleave_serve.model_executor.visual import (
    POOLING_STRIDES,
    UNPOOLED,
    VIDEO_NEWLINES,
    Pooling,
    Resizing,
    VideoNewline,
    VisualFormat,
)

MERGE_TYPES = ("flat", "spatial_unpad")
POOL_MODES = ("average", "max", "bilinear")
MAIN_STRIDE = 2  # of the authors' main branch, whatever mm_spatial_pool_stride says
# The values that are served; None stands for a field that is missing.
SERVED: dict[str, tuple[Any, ...]] = {
    "mm_projector_type": ("mlp2x_gelu",),
    "use_mm_proj": (True, None),
    "mm_vision_select_layer": (-2, None),
    "mm_vision_select_feature": ("patch", None),
    "mm_resampler_type": (None, "None"),
    "mm_use_im_start_end": (False, None),
    "mm_use_im_patch_token": (False, None),
    "add_faster_video": (False, None),
    "use_pos_skipping": (False, None),
}


def check(config: Any) -> None:
    """Refuses a configuration of the authors' that is not served exactly.

    config: a LlavaQwenConfig.

    Raises ValueError naming the field, its value and the values that are served.
    """
    for field, served in SERVED.items():
        value = getattr(config, field, None)
        if value not in served:
            raise _refusal(field, value, [each for each in served if each is not None])
    if config.text_config.hidden_act != "silu":
        raise _refusal("hidden_act", config.text_config.hidden_act, ["silu"])
    width = config.vision_config.hidden_size
    if getattr(config, "mm_hidden_size", width) != width:
        raise ValueError(f"mm_hidden_size is {config.mm_hidden_size}, but the vision tower has {width}")
    visual_format(config)


def visual_format(config: Any) -> VisualFormat:
    """How the checkpoint reads pictures and videos.

    config: a LlavaQwenConfig.

    Raises ValueError naming a field, its value and the values that are served.
    """
    merge_type = getattr(config, "mm_patch_merge_type", "flat")
    if merge_type not in MERGE_TYPES:
        raise _refusal("mm_patch_merge_type", merge_type, MERGE_TYPES)
    has_newline = merge_type == "spatial_unpad"
    resizing, max_tiles = _resizing(getattr(config, "image_aspect_ratio", None))
    any_resolution = None
    if resizing == "anyres":
        if not has_newline:
            raise ValueError(
                f"image_aspect_ratio is {config.image_aspect_ratio!r}, which needs mm_patch_merge_type 'spatial_unpad' "
                f"and not {merge_type!r}"
            )
        side = config.vision_config.image_size
        pinpoints = _pinpoints(getattr(config, "image_grid_pinpoints", None), side)
        any_resolution = AnyResolution(pinpoints, side, side // config.vision_config.patch_size, max_tiles)
    return VisualFormat(
        resizing=resizing,
        any_resolution=any_resolution,
        has_newline=has_newline,
        video_pooling=_video_pooling(config),
        video_newline=_video_newline(config) if has_newline else "no_token",
    )


def _resizing(aspect_ratio: Any) -> tuple[Resizing, int | None]:
    """How a picture is resized, and the N of `anyres_max_N`."""
    match aspect_ratio:
        case None | "square":
            return "squash", None
        case "pad":
            return "pad", None
        case str() if found := re.fullmatch(r"anyres(?:_max_(\d+))?", aspect_ratio):
            return "anyres", int(found[1]) if found[1] else None
    raise _refusal("image_aspect_ratio", aspect_ratio, ("square", "pad", "anyres", "anyres_max_N"))


def _pinpoints(value: Any, side: int) -> tuple[tuple[int, int], ...]:
    """The resolutions of any resolution, (width, height) each.

    The authors write them as a list, as its text, or as `(1x1),...,(6x6)`: all numbers of tiles between the two.
    Source: LLaVA-NeXT, llava/mm_utils.py, `process_anyres_image`.
    """
    if isinstance(value, str) and "x" in value:
        sizes = [(int(across), int(down)) for across, down in re.findall(r"\((\d+)x(\d+)\)", value)]
        if sizes:
            (first_across, first_down), (last_across, last_down) = sizes[0], sizes[-1]
            return tuple(
                (across * side, down * side)
                for across in range(first_across, last_across + 1)
                for down in range(first_down, last_down + 1)
            )
    try:
        pairs = ast.literal_eval(value) if isinstance(value, str) else value
        return tuple((int(width), int(height)) for width, height in pairs)
    except (TypeError, ValueError, SyntaxError):
        raise ValueError(
            f"image_grid_pinpoints is {value!r}, but must be a list of [width, height], or as '(1x1),...,(6x6)'"
        ) from None


def _video_pooling(config: Any) -> Pooling | None:
    """The pooling of a video: of the authors' main branch, or of `llavavid` where a checkpoint names both its fields.

    Main pools after the projector with stride 2 and reads neither mm_pooling_position nor mm_spatial_pool_stride;
    llavavid reads both, and has no bilinear pooling.
    """
    mode = getattr(config, "mm_spatial_pool_mode", None)
    if mode is None:
        return None
    if mode not in POOL_MODES:
        raise _refusal("mm_spatial_pool_mode", mode, POOL_MODES)
    position, stride = (getattr(config, f"mm_{field}", None) for field in ("pooling_position", "spatial_pool_stride"))
    if mode == "bilinear" or position is None or stride is None:
        return Pooling(mode, MAIN_STRIDE)
    if position not in ("before", "after"):
        raise _refusal("mm_pooling_position", position, ("before", "after"))
    if stride == 1:
        return UNPOOLED
    if stride not in POOLING_STRIDES:
        raise _refusal("mm_spatial_pool_stride", stride, (1, *POOLING_STRIDES))
    return Pooling(mode, stride, before_projector=position == "before")


def _video_newline(config: Any) -> VideoNewline:
    position = getattr(config, "mm_newline_position", None) or "one_token"
    if position not in VIDEO_NEWLINES:
        raise _refusal("mm_newline_position", position, VIDEO_NEWLINES)
    newline: VideoNewline = position
    return newline


def _refusal(field: str, value: Any, served: Any) -> ValueError:
    return ValueError(f"{field} is {value!r}, but only {', '.join(map(str, served))} is served")
