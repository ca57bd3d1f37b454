"""A visual is views with a pooling, from which its number of tokens follows."""

import numpy as np
import pytest

from llava_interleave_serve.model_executor.visual import Pooling, Visual


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
