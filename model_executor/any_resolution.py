"""Any resolution: how one picture is cut into several views, and how many prompt tokens they take.

All follows from the picture's width and height, so that nothing needs to be decoded. Shared by the server, which makes
the views, and the model, which lays their rows out; needs no torch.

Source: LLaVA-NeXT, llava/mm_utils.py (`select_best_resolution`, `resize_and_pad_image`, `divide_to_patches`) and
llava/model/llava_arch.py (`unpad_image`, and the reduction of `anyres_max_N`). Its numbers are Python floats that `int`
cuts and `math.ceil` rounds up; the order of the operations is part of the result.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

Size = tuple[int, int]  # width and height
MAX_PINPOINTS = 256
MIN_REDUCTION = 1.1  # of a side; a grid that is hardly too large is left as it is


@dataclass(frozen=True, slots=True)
class Layout:
    """The views of one picture, and the rows of its tokens.

    The views are the whole picture, squashed to a square, and then the tiles of a black canvas with the picture on it,
    row by row. The tokens are the grid of the first view, and then the rows of the grid of all tiles together, without
    those that show the canvas alone; a newline follows each of them.

    Attributes:
        canvas: its size in pixels, one of the checkpoint's resolutions.
        picture: the size in pixels to which the picture is resized before it is put on the canvas.
        offset: pixels to the left of the picture and above it on the canvas.
        tiles: tiles across and down.
        first_row: of the tiles' grid that is kept.
        first_column: of the tiles' grid that is kept.
        rows: of the tiles' grid that are kept; may be 0, for a strip.
        columns: of the tiles' grid that are kept.
        reduced: rows and columns to which the kept grid is resized, bilinearly; the same as these where it is not.
        num_tokens: of the picture, newlines included.

    """

    canvas: Size
    picture: Size
    offset: Size
    tiles: Size
    first_row: int
    first_column: int
    rows: int
    columns: int
    reduced: tuple[int, int]
    num_tokens: int

    @property
    def num_views(self) -> int:
        return 1 + self.tiles[0] * self.tiles[1]


@dataclass(frozen=True, slots=True)
class AnyResolution:
    """The any resolution of a checkpoint.

    Attributes:
        resolutions: of the canvas, in pixels; the checkpoint's `image_grid_pinpoints`.
        tile: the side of a view, in pixels.
        grid: the side of a view's grid of patches.
        max_tiles: the N of `anyres_max_N`: a picture takes about as many tokens as so many tiles; None: no limit.

    Raises ValueError for resolutions that are not whole tiles.

    """

    resolutions: tuple[Size, ...]
    tile: int
    grid: int
    max_tiles: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.resolutions) <= MAX_PINPOINTS:
            raise ValueError(f"image_grid_pinpoints has {len(self.resolutions)} resolutions, not 1 to {MAX_PINPOINTS}")
        for width, height in self.resolutions:
            if min(width, height) < self.tile or width % self.tile or height % self.tile:
                raise ValueError(
                    f"image_grid_pinpoints has {width}x{height}, which is not whole tiles of {self.tile}x{self.tile}"
                )
        if self.max_tiles is not None and self.max_tiles < 1:
            raise ValueError(f"anyres_max_{self.max_tiles} leaves no tile")

    def layout(self, width: int, height: int) -> Layout:
        """Lays out a picture of so many pixels. Raises ValueError for one without pixels."""
        if min(width, height) < 1:
            raise ValueError(f"a picture of {width}x{height} pixels has no layout")
        return _layout(self, width, height)

    @property
    def max_views(self) -> int:
        """The most views of a picture."""
        return 1 + max(width * height for width, height in self.resolutions) // self.tile**2

    @property
    def max_tokens(self) -> int:
        """An upper bound of the tokens of a picture; without a reduction, the most that a picture takes."""
        sides = [
            (height // self.tile * self.grid, width // self.tile * self.grid) for width, height in self.resolutions
        ]
        if self.max_tiles is None:
            return self.grid**2 + max(rows * (columns + 1) for rows, columns in sides)
        # A grid that is not reduced has at most MIN_REDUCTION**2 times the area, a reduced one at most the area itself.
        area = math.floor(self.max_tiles * self.grid**2 * MIN_REDUCTION**2)
        return self.grid**2 + max(min(rows * columns, area) + rows for rows, columns in sides)


def best_resolution(width: int, height: int, resolutions: Sequence[Size]) -> Size:
    """The resolution that keeps most of a picture's pixels; of those that keep equally many, the first smallest one."""
    best, most, least_waste = resolutions[0], -1, 0
    for across, down in resolutions:
        scale = min(across / width, down / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        waste = across * down - kept
        if kept > most or (kept == most and waste < least_waste):
            best, most, least_waste = (across, down), kept, waste
    return best


@lru_cache(maxsize=1024)
def _layout(checkpoint: AnyResolution, width: int, height: int) -> Layout:
    canvas = best_resolution(width, height, checkpoint.resolutions)
    picture = _size_on_canvas(width, height, canvas)
    tiles = canvas[0] // checkpoint.tile, canvas[1] // checkpoint.tile
    all_rows, all_columns = tiles[1] * checkpoint.grid, tiles[0] * checkpoint.grid
    first_row = first_column = 0
    if width / height > all_columns / all_rows:
        first_row = (all_rows - int(height * (all_columns / width))) // 2
    else:
        first_column = (all_columns - int(width * (all_rows / height))) // 2
    rows, columns = all_rows - 2 * first_row, all_columns - 2 * first_column
    reduced = _reduced(rows, columns, checkpoint)
    return Layout(
        canvas=canvas,
        picture=picture,
        offset=((canvas[0] - picture[0]) // 2, (canvas[1] - picture[1]) // 2),
        tiles=tiles,
        first_row=first_row,
        first_column=first_column,
        rows=rows,
        columns=columns,
        reduced=reduced,
        num_tokens=checkpoint.grid**2 + reduced[0] * (reduced[1] + 1),
    )


def _size_on_canvas(width: int, height: int, canvas: Size) -> Size:
    across, down = canvas[0] / width, canvas[1] / height
    if across < down:
        return canvas[0], min(math.ceil(height * across), canvas[1])
    return min(math.ceil(width * down), canvas[0]), canvas[1]


def _reduced(rows: int, columns: int, checkpoint: AnyResolution) -> tuple[int, int]:
    if checkpoint.max_tiles is None:
        return rows, columns
    factor = math.sqrt(rows * columns / (checkpoint.max_tiles * checkpoint.grid**2))
    if factor <= MIN_REDUCTION:
        return rows, columns
    return int(rows // factor), int(columns // factor)
