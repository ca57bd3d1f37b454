"""Every field of the authors' configuration that changes the computation is honoured, or refused by its name."""

from typing import Any

import pytest

from llava_interleave_serve.model_executor import config as checkpoint
from llava_interleave_serve.model_executor.any_resolution import AnyResolution
from llava_interleave_serve.model_executor.original import fields
from llava_interleave_serve.model_executor.original.config import LlavaQwenConfig
from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling, VisualFormat

PINPOINTS = [[384, 768], [768, 384], [768, 768], [1152, 384], [384, 1152]]
# llava-next-interleave-qwen-0.5b, in what matters here.
PUBLISHED: dict[str, Any] = {
    "hidden_act": "silu", "hidden_size": 1024, "image_aspect_ratio": "anyres",
    "image_crop_resolution": 224, "image_grid_pinpoints": PINPOINTS, "intermediate_size": 2816, "mm_hidden_size": 1152,
    "mm_patch_merge_type": "spatial_unpad", "mm_projector_lr": None, "mm_projector_type": "mlp2x_gelu",
    "mm_resampler_type": None, "mm_use_im_patch_token": False, "mm_use_im_start_end": False,
    "mm_vision_select_feature": "patch", "mm_vision_select_layer": -2, "num_attention_heads": 16,
    "mm_vision_tower": "google/siglip-so400m-patch14-384", "num_hidden_layers": 24, "num_key_value_heads": 16,
    "rope_theta": 1000000.0, "tie_word_embeddings": True, "use_mm_proj": True, "vocab_size": 151936,
}  # fmt: skip
ONEVISION = {"image_aspect_ratio": "anyres_max_9", "image_grid_pinpoints": "(1x1),...,(6x6)"}
LLAVA_VIDEO = ONEVISION | {
    "mm_spatial_pool_mode": "bilinear", "mm_newline_position": "grid", "mm_spatial_pool_stride": 2,
    "mm_pooling_position": "before", "add_time_instruction": True, "add_faster_video": False,
}  # fmt: skip
DPO = {
    "image_aspect_ratio": "pad", "image_grid_pinpoints": None, "mm_patch_merge_type": "flat",
    "mm_newline_position": "grid", "mm_pooling_position": "before",
}  # fmt: skip


def config(**changes: Any) -> LlavaQwenConfig:
    return LlavaQwenConfig.from_dict(PUBLISHED | changes)


def test_the_published_checkpoint_reads_pictures_through_any_resolution() -> None:
    published = config()
    checkpoint.check(published, [32, 64, 128])
    resolutions = tuple((width, height) for width, height in PINPOINTS)
    assert checkpoint.visual_format(published) == VisualFormat(
        "anyres", AnyResolution(resolutions, 384, 27), True, None, "one_token"
    )
    assert checkpoint.grid(published) == 27
    assert checkpoint.tower_depth(published) == 26


def test_the_published_dpo_checkpoint_pads_and_has_no_newline() -> None:
    checkpoint.check(config(**DPO), None)
    assert checkpoint.visual_format(config(**DPO)) == VisualFormat("pad")


def test_onevision_and_llava_video_are_served_as_configured() -> None:
    for changes in (ONEVISION, LLAVA_VIDEO):
        checkpoint.check(config(**changes), None)
    form = checkpoint.visual_format(config(**LLAVA_VIDEO))
    assert form.any_resolution is not None
    assert form.any_resolution.max_tiles == 9
    assert form.any_resolution.resolutions == tuple((x * 384, y * 384) for x in range(1, 7) for y in range(1, 7))
    assert (form.video_pooling, form.video_newline) == (Pooling("bilinear", 2), "grid")


@pytest.mark.parametrize("text", [str(PINPOINTS), "[(384, 768), (768, 384), (768, 768), (1152, 384), (384, 1152)]"])
def test_resolutions_may_be_a_lists_text(text: str) -> None:
    form = checkpoint.visual_format(config(image_grid_pinpoints=text))
    assert form == checkpoint.visual_format(config())


@pytest.mark.parametrize("ratio", [None, "square"])
def test_pictures_are_squashed_without_an_aspect_ratio(ratio: str | None) -> None:
    form = checkpoint.visual_format(config(image_aspect_ratio=ratio))
    assert (form.resizing, form.any_resolution, form.has_newline) == ("squash", None, True)


@pytest.mark.parametrize(
    ("changes", "pooling"),
    [
        ({}, None),
        ({"mm_spatial_pool_mode": "average"}, Pooling("average", 2)),
        # The authors' main branch reads neither of these alone.
        ({"mm_spatial_pool_mode": "max", "mm_spatial_pool_stride": 4}, Pooling("max", 2)),
        ({"mm_spatial_pool_mode": "max", "mm_pooling_position": "before"}, Pooling("max", 2)),
        # Their llavavid reads both.
        (
            {"mm_spatial_pool_mode": "max", "mm_spatial_pool_stride": 4, "mm_pooling_position": "before"},
            Pooling("max", 4, before_projector=True),
        ),
        (
            {"mm_spatial_pool_mode": "average", "mm_spatial_pool_stride": 3, "mm_pooling_position": "after"},
            Pooling("average", 3),
        ),
        ({"mm_spatial_pool_mode": "average", "mm_spatial_pool_stride": 1, "mm_pooling_position": "before"}, UNPOOLED),
    ],
)
def test_videos_are_pooled_as_the_configuration_says(changes: dict[str, Any], pooling: Pooling | None) -> None:
    assert checkpoint.visual_format(config(**changes)).video_pooling == pooling


@pytest.mark.parametrize("position", ["grid", "frame", "one_token", "no_token"])
def test_the_newline_position_of_videos_is_honoured_where_there_is_a_newline(position: str) -> None:
    assert checkpoint.visual_format(config(mm_newline_position=position)).video_newline == position
    assert checkpoint.visual_format(config(**(DPO | {"mm_newline_position": position}))).video_newline == "no_token"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"mm_patch_merge_type": "spatial"},
            "mm_patch_merge_type is 'spatial', but only flat, spatial_unpad is served",
        ),
        ({"mm_patch_merge_type": "unpad_nobase"}, "mm_patch_merge_type is 'unpad_nobase'"),
        ({"mm_patch_merge_type": "flat"}, "image_aspect_ratio is 'anyres', which needs mm_patch_merge_type"),
        ({"image_aspect_ratio": "highres"}, "image_aspect_ratio is 'highres', but only square, pad, anyres"),
        ({"image_aspect_ratio": "anyres_max"}, "image_aspect_ratio is 'anyres_max'"),
        ({"image_grid_pinpoints": None}, "image_grid_pinpoints is None, but must be a list"),
        ({"image_grid_pinpoints": "all"}, "image_grid_pinpoints is 'all', but must be a list"),
        ({"image_grid_pinpoints": [[384, 800]]}, "image_grid_pinpoints has 384x800, which is not whole tiles"),
        ({"mm_newline_position": "cell"}, "mm_newline_position is 'cell', but only grid, frame, one_token, no_token"),
        ({"mm_spatial_pool_mode": "conv"}, "mm_spatial_pool_mode is 'conv', but only average, max, bilinear"),
        (
            {"mm_spatial_pool_mode": "max", "mm_spatial_pool_stride": 5, "mm_pooling_position": "after"},
            "mm_spatial_pool_stride is 5, but only 1, 2, 3, 4",
        ),
        (
            {"mm_spatial_pool_mode": "max", "mm_spatial_pool_stride": 2, "mm_pooling_position": "within"},
            "mm_pooling_position is 'within', but only before, after",
        ),
        ({"mm_projector_type": "linear"}, "mm_projector_type is 'linear', but only mlp2x_gelu is served"),
        ({"mm_projector_type": None}, "mm_projector_type is None, but only mlp2x_gelu"),
        ({"use_mm_proj": False}, "use_mm_proj is False"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', but only silu"),
        ({"mm_vision_select_layer": -3}, "mm_vision_select_layer is -3, but only -2"),
        ({"mm_vision_select_feature": "cls_patch"}, "mm_vision_select_feature is 'cls_patch', but only patch"),
        ({"mm_resampler_type": "perceiver"}, "mm_resampler_type is 'perceiver'"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end is True, but only False"),
        ({"mm_use_im_patch_token": True}, "mm_use_im_patch_token is True, but only False"),
        ({"add_faster_video": True}, "add_faster_video is True, but only False"),
        ({"mm_hidden_size": 1024}, "mm_hidden_size is 1024, but the vision tower has 1152"),
    ],
)
def test_what_is_not_served_exactly_is_refused_by_name(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        fields.check(config(**changes))


def test_unknown_fields_that_change_nothing_do_not_stop_a_load() -> None:
    checkpoint.check(config(mm_projector_lr=2e-5, vision_tower_pretrained=None, some_new_field=3), None)
