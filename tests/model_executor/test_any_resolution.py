import json
import random
from pathlib import Path
from typing import Any

import pytest

from llava_interleave_serve.model_executor.any_resolution import AnyResolution, Layout
from tests.support.original.any_resolution_oracle import oracle, reduced_shape

GEOMETRY: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "support" / "original" / "anyres_geometry.json").read_text()
)
PINPOINTS = tuple((width, height) for width, height in GEOMETRY["pinpoints_wh"])
PUBLISHED = AnyResolution(PINPOINTS, GEOMETRY["tile"], GEOMETRY["grid"])
# LLaVA-OneVision's: every canvas of one to six tiles a side, and no more tokens than nine tiles have.
ONE_VISION = AnyResolution(tuple((384 * x, 384 * y) for x in range(1, 7) for y in range(1, 7)), 384, 27, max_tiles=9)


def columns(layout: Layout) -> dict[str, int]:
    """A layout under the names of the authors' table, in which the first row and column of nothing is -1."""
    is_kept = layout.rows and layout.columns
    return {
        "best_w": layout.canvas[0], "best_h": layout.canvas[1],
        "tiles_w": layout.tiles[0], "tiles_h": layout.tiles[1],
        "resized_w": layout.picture[0], "resized_h": layout.picture[1],
        "paste_x": layout.offset[0], "paste_y": layout.offset[1],
        "unpad_first_row": layout.first_row if is_kept else -1,
        "unpad_first_col": layout.first_column if is_kept else -1,
        "unpad_rows": layout.rows, "unpad_cols": layout.columns, "visual_tokens": layout.num_tokens,
    }  # fmt: skip


@pytest.mark.parametrize("table", ["rows", "rows_where_int_and_round_differ"])
def test_layouts_are_those_of_the_authors_code(table: str) -> None:
    for row in GEOMETRY[table]:
        expected = dict(zip(GEOMETRY["columns"], row, strict=True))
        width, height = expected.pop("width"), expected.pop("height")
        assert columns(PUBLISHED.layout(width, height)) == expected, (width, height)


def random_sizes(count: int) -> list[tuple[int, int]]:
    """Sizes of 1 to 8,000 pixels a side, small ones as often as large ones."""
    generator = random.Random(17)
    return [tuple(int(20 ** generator.uniform(0, 3)) for _ in range(2)) for _ in range(count)]  # type: ignore[misc]


def check_by_oracle(checkpoint: AnyResolution, sizes: list[tuple[int, int]]) -> None:
    for width, height in sizes:
        layout = checkpoint.layout(width, height)
        expected = oracle(width, height, list(checkpoint.resolutions), checkpoint.tile, checkpoint.grid)
        del expected["tokens"]
        assert columns(layout) == expected, (width, height)
        assert layout.num_views == 1 + expected["tiles_w"] * expected["tiles_h"] <= checkpoint.max_views
        assert layout.num_tokens <= checkpoint.max_tokens


def test_strips_of_every_shape_are_laid_out_as_the_oracle_does() -> None:
    strips = [(1, side) for side in range(1, 41)] + [(50 * side, 50) for side in range(1, 41)]
    check_by_oracle(PUBLISHED, [*strips, *((height, width) for width, height in strips), (4000, 3000), (3000, 4000)])


def test_two_thousand_random_sizes_are_laid_out_as_the_oracle_does() -> None:
    check_by_oracle(PUBLISHED, random_sizes(2000))


def test_another_checkpoints_tiles_and_resolutions_are_laid_out_as_the_oracle_does() -> None:
    tiny = AnyResolution(((76, 152), (152, 76), (152, 152), (228, 76), (76, 228)), 76, 5)
    check_by_oracle(tiny, random_sizes(300))


def test_of_canvases_that_keep_a_whole_picture_the_smallest_is_taken_whatever_their_order() -> None:
    largest_first = AnyResolution(tuple(sorted(ONE_VISION.resolutions, key=lambda size: -size[0] * size[1])), 384, 27)
    check_by_oracle(largest_first, random_sizes(300))
    assert largest_first.layout(380, 380).canvas == (384, 384)


def test_a_limit_of_tiles_reduces_the_grid_that_was_kept_and_nothing_else() -> None:
    for width, height in random_sizes(300):
        layout = ONE_VISION.layout(width, height)
        expected = oracle(width, height, list(ONE_VISION.resolutions), 384, 27)
        assert layout.reduced == reduced_shape(expected["unpad_rows"], expected["unpad_cols"], 9, 27)
        assert layout.num_tokens == 729 + layout.reduced[0] * (layout.reduced[1] + 1) <= ONE_VISION.max_tokens
        assert (layout.rows, layout.columns) == (expected["unpad_rows"], expected["unpad_cols"])


def test_the_most_views_and_tokens_are_those_of_the_published_checkpoints() -> None:
    assert (PUBLISHED.max_views, PUBLISHED.max_tokens) == (5, 3699)
    assert ONE_VISION.max_views == 37
    assert max(ONE_VISION.layout(width, width).num_tokens for width in range(1, 4000, 7)) <= ONE_VISION.max_tokens


def test_a_strip_may_keep_nothing_but_the_whole_picture() -> None:
    layout = PUBLISHED.layout(200, 5)
    assert (layout.rows, layout.num_tokens, layout.num_views) == (0, 729, 3)


@pytest.mark.parametrize(
    ("resolutions", "max_tiles", "message"),
    [
        ((), None, "has 0 resolutions"),
        (((384, 768),) * 257, None, "has 257 resolutions"),
        (((384, 700),), None, "384x700, which is not whole tiles of 384x384"),
        (((0, 384),), None, "0x384"),
        (((384, 384),), 0, "anyres_max_0"),
    ],
)
def test_resolutions_that_are_not_whole_tiles_are_refused(
    resolutions: tuple[tuple[int, int], ...], max_tiles: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        AnyResolution(resolutions, 384, 27, max_tiles)


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (-1, 5)])
def test_a_picture_without_pixels_has_no_layout(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="no layout"):
        PUBLISHED.layout(*size)
