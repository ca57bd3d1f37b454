"""Any resolution again, from its description in words: an oracle that shares no code with `model_executor`.

Here a picture's tokens are not counted by a formula: the grids are arrays, cut by slices and joined with newlines.
"""

import math
from typing import Any

import numpy as np
import torch

NEWLINE = -1


def oracle(width: int, height: int, resolutions: list[tuple[int, int]], tile: int, grid: int) -> dict[str, Any]:
    """Lays out a picture; returns the columns of anyres_geometry.json by name, and `tokens`, one number each.

    A token's number is view * grid * grid + its place in the view's grid, or NEWLINE.
    """
    ranked = []
    for place, (across, down) in enumerate(resolutions):
        scale = min(across / width, down / height)
        shown = min(math.floor(width * scale) * math.floor(height * scale), width * height)
        ranked.append((-shown, across * down - shown, place))
    best_w, best_h = resolutions[min(ranked)[2]]
    if best_w / width < best_h / height:
        size = best_w, min(-math.floor(-(height * (best_w / width))), best_h)
    else:
        size = min(-math.floor(-(width * (best_h / height))), best_w), best_h
    tiles_w, tiles_h = best_w // tile, best_h // tile
    base, *tiles = np.arange((1 + tiles_w * tiles_h) * grid * grid).reshape(-1, grid, grid)
    stitched = np.concatenate([np.concatenate(tiles[row * tiles_w :][:tiles_w], 1) for row in range(tiles_h)])
    kept = _without_padding(stitched, width, height)
    ends = np.full((len(kept), 1), NEWLINE)
    tokens = np.concatenate([base.reshape(-1), np.concatenate([kept, ends], 1).reshape(-1)])
    first = np.argwhere(stitched == kept[0, 0])[0] if kept.size else (-1, -1)
    return {
        "best_w": best_w, "best_h": best_h, "tiles_w": tiles_w, "tiles_h": tiles_h,
        "resized_w": size[0], "resized_h": size[1],
        "paste_x": (best_w - size[0]) // 2, "paste_y": (best_h - size[1]) // 2,
        "unpad_first_row": int(first[0]), "unpad_first_col": int(first[1]),
        "unpad_rows": kept.shape[0], "unpad_cols": kept.shape[1],
        "visual_tokens": len(tokens), "tokens": tokens.tolist(),
    }  # fmt: skip


def reduced_shape(rows: int, columns: int, max_tiles: int, grid: int) -> tuple[int, int]:
    """The shape that torch gives a grid of so many rows and columns under `anyres_max_N`."""
    factor = math.sqrt(rows * columns / (max_tiles * grid**2))
    features = torch.zeros(1, 1, rows, columns)
    if factor > 1.1:
        sides = [int(rows // factor), int(columns // factor)]
        features = torch.nn.functional.interpolate(features, sides, mode="bilinear")
    return features.shape[2], features.shape[3]


def _without_padding(stitched: np.ndarray, width: int, height: int) -> np.ndarray:
    """Cuts from both ends what shows the canvas alone; never one row more at one end than at the other."""
    rows, columns = stitched.shape
    if width / height > columns / rows:
        cut = (rows - math.floor(height * (columns / width))) // 2
        return stitched[cut : rows - cut]
    cut = (columns - math.floor(width * (rows / height))) // 2
    return stitched[:, cut : columns - cut]
