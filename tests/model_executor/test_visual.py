"""A visual is views with a pooling, from which its number of tokens follows."""

import numpy as np
import pytest

from llava_interleave_serve.model_executor.any_resolution import AnyResolution
from llava_interleave_serve.model_executor.visual import Newline, Pooling, VideoNewline, Visual, frame_newlines


@pytest.mark.parametrize(
    ("mode", "stride", "grid", "side"),
    [
        ("none", 1, 27, 27),
        ("average", 2, 27, 13), ("average", 3, 27, 9), ("average", 4, 27, 6),
        ("max", 2, 7, 3), ("max", 2, 2, 1),
        ("bilinear", 2, 27, 14), ("bilinear", 3, 27, 9), ("bilinear", 4, 27, 7), ("bilinear", 2, 7, 4),
        ("bilinear", 4, 1, 1),
    ],
)  # fmt: skip
def test_the_pooled_grid_is_that_of_the_reference_implementation(mode: str, stride: int, grid: int, side: int) -> None:
    assert Pooling(mode, stride).side(grid) == side


@pytest.mark.parametrize(("mode", "stride"), [("none", 2), ("average", 1), ("average", 5), ("mean", 2), ("max", 0)])
def test_an_impossible_pooling_is_refused(mode: str, stride: int) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        Pooling(mode, stride)


def test_a_pooling_with_an_empty_result_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves nothing of a 3x3 grid"):
        Pooling("average", 4).side(3)


@pytest.mark.parametrize(
    "views",
    [
        np.zeros((1, 4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((1, 4, 5, 3), np.uint8),
        np.zeros((1, 4, 4, 4), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
    ],
)
def test_views_of_another_shape_or_dtype_are_refused(views: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"views must be uint8 \[1, S, S, 3\]"):
        Visual(views)


def test_a_visual_has_the_number_of_tokens_of_its_pooled_views() -> None:
    assert Visual(np.zeros((1, 8, 8, 3), np.uint8), Pooling("bilinear", 2)).num_tokens(27) == 196


PICTURE = AnyResolution(((8, 16), (16, 8), (16, 16)), 8, 3)


@pytest.mark.parametrize(("newline", "tokens"), [("none", 4), ("row", 6), ("end", 5)])
def test_newlines_are_counted_for_each_row_of_the_pooled_grid_or_once(newline: Newline, tokens: int) -> None:
    views = np.zeros((1, 8, 8, 3), np.uint8)
    assert Visual(views, Pooling("average", 2), newline).num_tokens(5) == tokens


def test_a_picture_through_any_resolution_has_the_tokens_of_its_layout() -> None:
    layout = PICTURE.layout(90, 20)
    visual = Visual(np.zeros((layout.num_views, 8, 8, 3), np.uint8), layout=layout)
    assert visual.num_tokens(3) == layout.num_tokens == 9 + 1 * (6 + 1)


@pytest.mark.parametrize("views", [1, 2, 4])
def test_views_that_are_not_those_of_the_layout_are_refused(views: int) -> None:
    with pytest.raises(ValueError, match=r"views must be uint8 \[3, S, S, 3\]"):
        Visual(np.zeros((views, 8, 8, 3), np.uint8), layout=PICTURE.layout(90, 20))


def test_a_layout_excludes_pooling_and_other_newlines() -> None:
    layout, views = PICTURE.layout(90, 20), np.zeros((3, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="no pooling and no newlines but those of its layout"):
        Visual(views, Pooling("average", 2), layout=layout)
    with pytest.raises(ValueError, match="no pooling and no newlines but those of its layout"):
        Visual(views, newline="end", layout=layout)


@pytest.mark.parametrize(("mode", "stride"), [("none", 1), ("bilinear", 2)])
def test_only_average_and_max_pool_before_the_projector(mode: str, stride: int) -> None:
    with pytest.raises(ValueError, match=f"before the projector is average or max, not {mode}"):
        Pooling(mode, stride, before_projector=True)


@pytest.mark.parametrize(
    ("position", "newlines"),
    [
        ("grid", ["row", "row", "row"]),
        ("frame", ["end", "end", "end"]),
        ("one_token", ["none", "none", "end"]),
        ("no_token", ["none", "none", "none"]),
    ],
)
def test_the_newlines_of_frames_are_those_of_the_reference_implementation(
    position: VideoNewline, newlines: list[Newline]
) -> None:
    assert frame_newlines(position, 3) == newlines
    assert frame_newlines(position, 0) == []
