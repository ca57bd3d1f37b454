"""What the throw-away heads are taught to name of patches, in the tower and inside the language model."""

from itertools import pairwise

import numpy as np

from llava_interleave_serve.demo import architecture
from llava_interleave_serve.demo.architecture import PATCHES
from llava_interleave_serve.demo.scenes import drawing, questions

MAX_VISUALS = 16
MOTION_SLACK = 1e-6  # of the image's side, across the direction of a straight motion
UNKNOWN = -100  # the label of what is not asked
# What the heads name, and of how many: of the tower's patches; of the visual rows inside the language model; and of the
# same rows a layer later, what they can only know by looking at what came before.
PATCH_LABELS = {
    "shape": 1 + len(drawing.FORMS),
    "colour": 1 + len(drawing.COLOURS),
    "centre": 2,
    "row": architecture.GRID,
    "column": architecture.GRID,
    "dark": 2,
    "noisy": 2,
}
ROW_LABELS = {
    "ordinal": MAX_VISUALS,
    "kind": 1 + len(drawing.COLOURS) * len(drawing.FORMS),
    "place": 2,
    "row": architecture.GRID,
    "column": architecture.GRID,
    "dark": 2,
    "noisy": 2,
}
PAIR_LABELS = {
    "before": 1 + ROW_LABELS["kind"],
    "motion": 1 + len(drawing.DIRECTIONS),
    "camera": 1 + len(questions.CAMERAS),
    "of_shape": 2 + questions.MAX_COUNT,
    "of_colour": 2 + questions.MAX_COUNT,
    "things": 2 + questions.MAX_COUNT,
    "followed": ROW_LABELS["kind"],
}


def of_patches(drawn: list[drawing.Scene]) -> np.ndarray:
    """PATCH_LABELS of every patch: int64 [scenes, patches, 7]."""
    shown = np.stack([scene.patch_labels(architecture.GRID) for scene in drawn])
    places = np.stack(np.divmod(np.arange(PATCHES), architecture.GRID), -1)
    light = np.array([(scene.is_dark, scene.is_noisy) for scene in drawn], np.int64)[:, None]
    every = shown.shape[:2]
    return np.concatenate([shown, *(np.broadcast_to(one, (*every, 2)) for one in (places, light))], -1)


def of_rows(talks: list[questions.Conversation], patches: np.ndarray) -> np.ndarray:
    """ROW_LABELS and PAIR_LABELS of every patch of the talks' visuals, equally many each, by `of_patches` of these.

    patches: int64 [talks * visuals, patches, 7]. The result: int64 [talks * visuals, patches, 14].
    """
    visuals = len(patches) // len(talks)
    of_talks = patches.reshape(len(talks), visuals, PATCHES, -1)
    shapes, colours, centres, rows, columns, dark, noisy = np.moveaxis(of_talks, -1, 0)
    kinds = np.where(shapes > 0, (colours - 1) * len(drawing.FORMS) + shapes, 0)
    before = np.roll(kinds, 1, axis=1)
    before[:, 0] = PAIR_LABELS["before"] - 1  # nothing came before
    ordinals = np.broadcast_to(np.arange(visuals)[None, :, None], before.shape)
    moves = np.array([[0, *map(movement, talk.scenes, talk.scenes[1:])] for talk in talks])
    motion = np.where(kinds > 0, moves[..., None], 0)
    names = np.array([[1 + questions.CAMERAS.index(name) for name in talk.names] or [0] * visuals for talk in talks])
    cameras = np.broadcast_to(names[..., None], before.shape)
    known = (ordinals, kinds, centres, rows, columns, dark, noisy)
    counts = (so_far(of, centres) for of in (shapes, colours, centres))
    paired = (before, motion, cameras, *counts, followed(kinds))
    return np.stack((*known, *paired), -1).reshape(len(patches), PATCHES, -1)


def so_far(kinds: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """How many things of the same kind a conversation has shown up to and with each thing, at its centre; else 0.

    Both and the result are int64 [talks, visuals, patches]; the most that is told apart is one more than MAX_COUNT.
    """
    counts = np.zeros_like(kinds).reshape(len(kinds), -1)
    for kind in range(1, kinds.max() + 1):
        of_kind = ((kinds == kind) & (centres > 0)).reshape(counts.shape)
        counts += of_kind.cumsum(1) * of_kind
    return counts.clip(max=1 + questions.MAX_COUNT).reshape(kinds.shape)


def followed(kinds: np.ndarray) -> np.ndarray:
    """The kind that came next when an earlier visual showed what a patch shows, by the last such visual; 0 if none did.

    Both are int64 [talks, visuals, patches]. Asked of conversations whose visuals show one kind each; else UNKNOWN.
    """
    found = np.full_like(kinds, UNKNOWN)
    for talk, answers in zip(kinds, found, strict=True):
        shown = [set(visual[visual > 0].tolist()) for visual in talk]
        if any(len(one) != 1 for one in shown):
            continue
        series = [kind for one in shown for kind in one]
        answers[...] = 0
        for at, kind in enumerate(series):
            earlier = [next_ for one, next_ in pairwise(series[: at + 1]) if one == kind]
            answers[at][talk[at] > 0] = earlier[-1] if earlier else 0
    return found


def movement(before: drawing.Scene, after: drawing.Scene) -> int:
    """Which way the one thing of two scenes moves, from 1, as DIRECTIONS lists them; 0 if it is none of these."""
    if len(before.things) != 1 or len(after.things) != 1 or before.kinds != after.kinds:
        return 0
    dx, dy = after.things[0].x - before.things[0].x, after.things[0].y - before.things[0].y
    ways = [(dx * right + dy * down) for right, down in drawing.DIRECTIONS.values()]
    return 1 + int(np.argmax(ways)) if max(ways) > 0 and min(abs(dx), abs(dy)) < MOTION_SLACK else 0
