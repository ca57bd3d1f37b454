"""Labels for the auxiliary heads, which name properties of patches in the tower and inside the language model."""

from itertools import pairwise

import numpy as np

from llava_interleave_serve.demo.architecture import GRID
from llava_interleave_serve.demo.scenes import drawing, frames, questions
from llava_interleave_serve.demo.scenes.colours import COLOURS

MAX_VISUALS = 16
MOTION_SLACK = 1e-6  # of the image's side: how far a thing that moves straight may stray to the side
UNKNOWN = -100  # the label of a patch that no loss is taken of
# Each dictionary is from a property's name to the number of its values. PATCH_LABELS are properties of the tower's
# patches; ROW_LABELS of the visual rows inside the language model; PAIR_LABELS of the same rows a layer later, where
# attention to earlier rows can tell them.
PATCH_LABELS = {
    "shape": 1 + len(drawing.FORMS),
    "colour": 1 + len(COLOURS),
    "centre": 2,
    "row": GRID,
    "column": GRID,
    "dark": 2,
    "noisy": 2,
}
ROW_LABELS = {
    "ordinal": MAX_VISUALS,
    "kind": 1 + len(COLOURS) * len(drawing.FORMS),
    "centre": 2,
    "row": GRID,
    "column": GRID,
    "dark": 2,
    "noisy": 2,
}
PAIR_LABELS = {
    "before": 1 + ROW_LABELS["kind"],
    "motion": 1 + len(frames.DIRECTIONS),
    "camera": 1 + len(questions.CAMERAS),
    "of_shape": 2 + questions.MAX_COUNT,
    "of_colour": 2 + questions.MAX_COUNT,
    "things": 2 + questions.MAX_COUNT,
    "followed": ROW_LABELS["kind"],
}


def patch_labels(scenes: list[drawing.Scene], grid: int = GRID) -> np.ndarray:
    """PATCH_LABELS of every patch of the scenes: int64 [scenes, grid * grid, 7].

    grid: the patches, or the pooled ones, of a side; of pooled ones, row and column are UNKNOWN, as are the qualities
    of wide scenes.
    """
    things = np.stack([scene.patch_labels(grid) for scene in scenes])
    positions = np.stack(np.divmod(np.arange(grid**2), grid), -1) if grid == GRID else np.full((grid**2, 2), UNKNOWN)
    known = [(scene.is_dark, scene.is_noisy) if scene.finish is None else (UNKNOWN, UNKNOWN) for scene in scenes]
    qualities = np.array(known, np.int64)[:, None]
    patches = things.shape[:2]
    return np.concatenate([things, *(np.broadcast_to(each, (*patches, 2)) for each in (positions, qualities))], -1)


def row_labels(conversations: list[questions.Conversation], patches: np.ndarray) -> np.ndarray:
    """ROW_LABELS and PAIR_LABELS of every patch: int64 [conversations * visuals, patches, 14].

    conversations: all with equally many visuals.
    patches: `patch_labels` of all their scenes, int64 [conversations * visuals, patches, 7].
    """
    visuals, patches_a_visual = len(patches) // len(conversations), patches.shape[1]
    by_conversation = patches.reshape(len(conversations), visuals, patches_a_visual, -1)
    shapes, colours, centres, rows, columns, dark, noisy = np.moveaxis(by_conversation, -1, 0)
    kinds = np.where(shapes > 0, (colours - 1) * len(drawing.FORMS) + shapes, 0)
    before = np.roll(kinds, 1, axis=1)
    before[:, 0] = PAIR_LABELS["before"] - 1  # nothing comes before the first visual
    ordinals = np.broadcast_to(np.arange(visuals)[None, :, None], before.shape)
    motions = np.array([[0, *(motion_label(*pair) for pair in pairwise(each.scenes))] for each in conversations])
    motion = np.where(kinds > 0, motions[..., None], 0)
    names = [[1 + questions.CAMERAS.index(name) for name in each.names] or [0] * visuals for each in conversations]
    cameras = np.broadcast_to(np.array(names)[..., None], before.shape)
    counts = (running_counts(values, centres) for values in (shapes, colours, centres))
    row = (ordinals, kinds, centres, rows, columns, dark, noisy)
    pair = (before, motion, cameras, *counts, next_kinds(kinds))
    return np.stack((*row, *pair), -1).reshape(len(patches), patches_a_visual, -1)


def running_counts(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Numbers the things of a conversation that share a value, in the order of visuals and patches, from 1.

    values: int64 [conversations, visuals, patches], 0 for background. centres: of the same shape, positive where a
    thing's centre is.

    Returns the numbers at things' centres and 0 elsewhere, in the same shape; numbers above MAX_COUNT are one value.
    """
    counts = np.zeros_like(values).reshape(len(values), -1)
    for value in range(1, values.max() + 1):
        matches = ((values == value) & (centres > 0)).reshape(counts.shape)
        counts += matches.cumsum(1) * matches
    return counts.clip(max=1 + questions.MAX_COUNT).reshape(values.shape)


def next_kinds(kinds: np.ndarray) -> np.ndarray:
    """The kind that followed the latest earlier visual of the same kind as this one; 0 if there was none.

    kinds and result: int64 [conversations, visuals, patches]; the result is 0 at background too, and UNKNOWN in
    conversations where a visual shows none or several kinds.
    """
    labels = np.full_like(kinds, UNKNOWN)
    for of_patches, conversation_labels in zip(kinds, labels, strict=True):
        kinds_of_visuals = [set(visual[visual > 0].tolist()) for visual in of_patches]
        if any(len(visual_kinds) != 1 for visual_kinds in kinds_of_visuals):
            continue
        series = [kind for visual_kinds in kinds_of_visuals for kind in visual_kinds]
        conversation_labels[...] = 0
        for index, kind in enumerate(series):
            followers = [later for earlier, later in pairwise(series[: index + 1]) if earlier == kind]
            conversation_labels[index][of_patches[index] > 0] = followers[-1] if followers else 0
    return labels


def motion_label(before: drawing.Scene, after: drawing.Scene) -> int:
    """The direction in which the only thing of both scenes moves: 1 + its index in DIRECTIONS; 0 for no such motion."""
    if len(before.things) != 1 or len(after.things) != 1 or before.kinds != after.kinds:
        return 0
    dx, dy = after.things[0].x - before.things[0].x, after.things[0].y - before.things[0].y
    distances = [(dx * right + dy * down) for right, down in frames.DIRECTIONS.values()]
    return 1 + int(np.argmax(distances)) if max(distances) > 0 and min(abs(dx), abs(dy)) < MOTION_SLACK else 0
