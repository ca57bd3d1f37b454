"""What attention is taught to look at: the patches that tell an answer, and those of all that is counted.

Labels are those of `Scene.patch_labels`: int64 [visuals, patches, 3 or more].
"""

import numpy as np

from llava_interleave_serve.demo import architecture
from llava_interleave_serve.demo.scenes import drawing, questions, signs

SHAPE_NUMBERS = {shape: 1 + at for at, shape in enumerate(drawing.SHAPES)}
COLOUR_NUMBERS = {colour: 1 + at for at, colour in enumerate(drawing.COLOURS)}
COUNTED = ("count", "both")  # the families whose answers are a number of things, or follow from it
# Of the columns of patches, which letter of a sign each is a part of.
LETTER_AT = ((np.arange(architecture.GRID) + 0.5) * signs.LENGTH / architecture.GRID).astype(int)


def asked_about(talk: questions.Conversation, labels: np.ndarray) -> list[list[np.ndarray]]:
    """Which patches tell each step of each turn's answer: bool [visuals, patches]; one step where a turn names none."""
    return [_steps(turn, labels) if turn.steps else [_whole(turn, talk, labels)] for turn in talk.turns]


def _steps(turn: questions.Turn, labels: np.ndarray) -> list[np.ndarray]:
    """The things of the visual that each step names; on a sign, a letter each."""
    things = labels[..., 0] > 0
    told = []
    for number, (_, visual) in enumerate(turn.steps):
        at = things & (np.arange(len(things)) == visual)[:, None]
        if turn.family == "sign":
            at &= np.tile(number == LETTER_AT, architecture.GRID)
        told.append(at)
    return told


def _whole(turn: questions.Turn, talk: questions.Conversation, labels: np.ndarray) -> np.ndarray:
    """Of what is counted, the last thing's centre, where the count so far is the answer."""
    things = labels[..., 0] > 0
    at = np.zeros(len(labels), bool)
    match turn.family:
        case "which" | "camera" | "face" | "both":
            return is_kind(turn.about, labels)
        case "count":
            all_counted = counted(turn, labels)
            return all_counted & (all_counted.cumsum().reshape(things.shape) == all_counted.sum())
        case "change" | "edit":
            return things & (labels[:1, :, :2] != labels[1:, :, :2]).any(-1)
        case "shown" if turn.about:
            names = list(questions.ORDINALS) if turn.about in questions.ORDINALS else talk.names
            at[names.index(turn.about)] = True
        case "first":
            at[0] = True
        case "last" | "motion":
            at[-1] = True
        case _:
            at[:] = turn.family != "greeting"
    return things & at[:, None]


def is_kind(kind: str, labels: np.ndarray) -> np.ndarray:
    """Where a kind of thing, `red circle`, is: bool [visuals, patches]."""
    colour, shape = kind.split()
    return (labels[..., 0] == SHAPE_NUMBERS[shape]) & (labels[..., 1] == COLOUR_NUMBERS[colour])


def counted(turn: questions.Turn, labels: np.ndarray) -> np.ndarray:
    """The centres of what a turn has counted: bool [visuals, patches]; of turns that are not COUNTED none."""
    shape, colour, centre = (labels[..., at] for at in range(3))
    if turn.family not in COUNTED:
        return np.zeros(shape.shape, bool)
    if turn.family == "both":
        return (centre > 0) & is_kind(turn.about, labels)
    if turn.about in SHAPE_NUMBERS:
        return (centre > 0) & (shape == SHAPE_NUMBERS[turn.about])
    if turn.about in COLOUR_NUMBERS:
        return (centre > 0) & (colour == COLOUR_NUMBERS[turn.about])
    return centre > 0
