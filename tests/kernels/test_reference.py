"""Definitions of the operators agree with an oracle in plain Python floats and with examples."""

import math

import pytest
import torch

from llava_interleave_serve.kernels import index_plan, reference
from llava_interleave_serve.kernels.index_plan import Packing, Tiles
from tests.support.original import any_resolution_oracle

GRIDS = (27, 9, 7, 5, 4, 2)


def windows(rows: list[list[list[float]]], stride: int, take: str) -> list[list[float]]:
    """Average or maximum over whole stride x stride windows; patches that fill no window are dropped."""
    side, channels = len(rows) // stride, len(rows[0][0])
    out = []
    for top in range(side):
        for left in range(side):
            cell = [rows[top * stride + y][left * stride + x] for y in range(stride) for x in range(stride)]
            columns = [[patch[c] for patch in cell] for c in range(channels)]
            out.append([max(column) if take == "max" else math.fsum(column) / len(column) for column in columns])
    return out


def bilinear(rows: list[list[list[float]]], stride: int) -> list[list[float]]:
    """Samples at the centres of ceil(G / stride) equal cells, between the four patches around each."""
    grid, channels = len(rows), len(rows[0][0])
    side = -(-grid // stride)
    taps = []
    for cell in range(side):
        centre = max((cell + 0.5) * grid / side - 0.5, 0.0)
        low = min(int(centre), grid - 1)
        taps.append((low, min(low + 1, grid - 1), centre - low))
    out = []
    for top, bottom, down in taps:
        for left, right, across in taps:
            out.append(
                [
                    (rows[top][left][c] * (1 - across) + rows[top][right][c] * across) * (1 - down)
                    + (rows[bottom][left][c] * (1 - across) + rows[bottom][right][c] * across) * down
                    for c in range(channels)
                ]
            )
    return out


def oracle(features: torch.Tensor, mode: str, stride: int) -> list[list[float]]:
    grid = math.isqrt(features.shape[0])
    rows = features.double().unflatten(0, (grid, grid)).tolist()
    if mode == "none":
        return [patch for row in rows for patch in row]
    return bilinear(rows, stride) if mode == "bilinear" else windows(rows, stride, mode)


POOLINGS = [("none", 1), *((mode, stride) for mode in ("average", "max", "bilinear") for stride in (2, 3, 4))]


def fitting(grid: int) -> list[tuple[str, int]]:
    return [(mode, stride) for mode, stride in POOLINGS if index_plan.pooled_side(grid, mode, stride) >= 1]


@pytest.mark.parametrize("grid", GRIDS)
def test_reference_pooling_agrees_with_the_oracle_in_every_mode_and_stride(grid: int) -> None:
    features = torch.randn(2, grid**2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(grid))
    for mode, stride in fitting(grid):
        result = reference.pool(features, mode, stride)
        for pooled, expected in zip(result, (oracle(visual, mode, stride) for visual in features), strict=True):
            torch.testing.assert_close(pooled, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("newline", "rows"),
    [("none", [0, 1, 2, 3, 5.5]), ("row", [0, 1, -1, 2, 3, -1, 5.5, -1]), ("end", [0, 1, 2, 3, -1, 5.5, -1])],
)
def test_reference_newlines_are_where_the_packing_puts_them(newline: str, rows: list[float]) -> None:
    features = torch.arange(8.0).reshape(2, 4, 1)
    packings = [Packing(newline=newline), Packing("average", 2, newline)]
    assert reference.pool_pack(features, packings, torch.tensor([-1.0]))[:, 0].tolist() == rows
    assert reference.pool_pack(features, packings)[:, 0].tolist() == [max(row, 0) for row in rows]


def tiles_of(width: int, height: int, tile: int, grid: int) -> tuple[Packing, list[int]]:
    """The packing of a picture through any resolution by the oracle's columns, and the oracle's tokens."""
    resolutions = [(tile, 2 * tile), (2 * tile, tile), (2 * tile, 2 * tile), (3 * tile, tile), (tile, 3 * tile)]
    wanted = any_resolution_oracle.oracle(width, height, resolutions, tile, grid)
    first = max(wanted["unpad_first_row"], 0), max(wanted["unpad_first_col"], 0)
    tiles = Tiles(wanted["tiles_w"], wanted["tiles_h"], *first, wanted["unpad_rows"], wanted["unpad_cols"])
    return Packing(tiles=tiles), wanted["tokens"]


@pytest.mark.parametrize(
    ("width", "height"), [(40, 40), (80, 30), (30, 80), (61, 47), (47, 61), (5, 200), (200, 5), (120, 40), (40, 130)]
)
@pytest.mark.parametrize("grid", [3, 5])
def test_reference_tiles_are_those_of_the_oracle_in_words(width: int, height: int, grid: int) -> None:
    packing, tokens = tiles_of(width, height, 40, grid)
    features = torch.arange(packing.views * grid**2, dtype=torch.float64).reshape(packing.views, grid**2, 1)
    newline = torch.tensor([any_resolution_oracle.NEWLINE], dtype=torch.float64)
    assert reference.pool_pack(features, [packing], newline)[:, 0].tolist() == tokens
    assert packing.rows(grid) == len(tokens)


def test_reference_resizes_tiles_as_torch_interpolates() -> None:
    packing = Packing(tiles=Tiles(3, 2, 1, 0, 8, 15, (5, 11)))
    features = torch.randn(7, 25, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    squares = features[1:].reshape(2, 3, 5, 5, 4).permute(0, 2, 1, 3, 4).reshape(10, 15, 4)[1:9]
    wanted = torch.nn.functional.interpolate(squares.permute(2, 0, 1)[None], (5, 11), mode="bilinear")[0]
    rows = reference.pool_pack(features, [packing])
    assert rows[:25].equal(features[0])
    torch.testing.assert_close(rows[25:].reshape(5, 12, 4)[:, :11], wanted.permute(1, 2, 0), rtol=1e-12, atol=1e-12)
    assert len(rows) == packing.rows(5)


def test_views_that_no_packing_takes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 views came for 1"):
        reference.pool_pack(torch.zeros(3, 4, 1), [Packing()])


def test_a_patch_row_is_its_patch_line_by_line() -> None:
    view = torch.randint(0, 256, (1, 7, 7, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scale, shift = torch.tensor([0.5, 0.25, 2.0]), torch.tensor([1.0, -1.0, 0.0])
    rows = reference.patchify(view, scale, shift, 3, torch.float32)
    assert rows.shape == (4, 32)
    for index, (top, left) in enumerate(((0, 0), (0, 3), (3, 0), (3, 3))):
        pixels = [view[0, top + y, left + x, c].item() for y in range(3) for x in range(3) for c in range(3)]
        wanted = [pixel * scale[i % 3].item() + shift[i % 3].item() for i, pixel in enumerate(pixels)]
        assert rows[index].tolist() == [*wanted, 0, 0, 0, 0, 0]


def test_a_product_of_patch_rows_with_the_permuted_weight_is_the_convolution() -> None:
    random = torch.Generator().manual_seed(1)
    view = torch.randint(0, 256, (2, 29, 29, 3), dtype=torch.uint8, generator=random)
    weight = torch.randn(5, 3, 4, 4, dtype=torch.float64, generator=random)
    scale, shift = torch.rand(2, 3, dtype=torch.float64, generator=random)
    rows = reference.patchify(view, scale, shift, 4, torch.float64)
    wanted = torch.conv2d((view.double() * scale + shift).permute(0, 3, 1, 2), weight, stride=4)
    result = (rows @ weight.permute(0, 2, 3, 1).flatten(1).T).view(2, 49, 5)
    torch.testing.assert_close(result, wanted.flatten(2).mT, rtol=1e-10, atol=1e-10)


def test_merged_rows_are_those_of_text_and_visuals() -> None:
    table, rows = torch.arange(10.0)[:, None], torch.tensor([[100.0], [101.0]])
    row_index = index_plan.visual_row_indices(torch.tensor([False, True, False, True]))
    assert row_index.tolist() == [-1, 0, -1, 1]
    merged = reference.merge_prefill(torch.tensor([3, 99, 4, 99]), table, rows, row_index)
    assert merged[:, 0].tolist() == [3, 100, 4, 101]


@pytest.mark.parametrize(
    ("packing", "sentence"),
    [
        (Packing("average", 4), "leaves nothing of a 3x3 grid"),
        (Packing(newline="grid"), "newlines must be one of none, row, end, not 'grid'"),
        (Packing("average", 2, tiles=Tiles(1, 1, 0, 0, 3, 3)), "tiles are not pooled"),
        (Packing(tiles=Tiles(2, 1, 0, 0, 3, 7)), "does not fit tiles of 3x3"),
        (Packing(tiles=Tiles(2, 1, 1, 0, 3, 6)), "does not fit tiles of 3x3"),
        (Packing(tiles=Tiles(2, 1, -1, 0, 3, 6)), "does not fit tiles of 3x3"),
    ],
)
def test_an_impossible_plan_is_refused(packing: Packing, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        index_plan.build(3, [packing])
