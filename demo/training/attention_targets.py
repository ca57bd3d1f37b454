"""Targets of the attention losses: the patches that tell an answer, and those of the things that are counted.

`labels` is always `Scene.patch_labels` of a conversation's scenes: int64 [visuals, patches, 3 or more].
"""

import math

import numpy as np

from llava_interleave_serve.demo.scenes import drawing, questions, signs
from llava_interleave_serve.demo.scenes.colours import COLOURS

SHAPE_NUMBERS = {shape: number for number, shape in enumerate(drawing.SHAPES, 1)}
COLOUR_NUMBERS = {colour: number for number, colour in enumerate(COLOURS, 1)}
COUNTED = ("count", "both")  # the families whose answers are a number of things, or follow from it


def step_targets(conversation: questions.Conversation, labels: np.ndarray) -> list[list[np.ndarray]]:
    """The patches that tell each step of each turn's answer: bool [visuals, patches]; a turn without steps has one."""
    return [
        _targets_by_step(turn, labels) if turn.steps else [_targets_of_answer(turn, conversation, labels)]
        for turn in conversation.turns
    ]


def _targets_by_step(turn: questions.Turn, labels: np.ndarray) -> list[np.ndarray]:
    """The thing of the visual that each step names, or all of the visual's; on a sign, one letter a step."""
    things, grid = labels[..., 0] > 0, math.isqrt(labels.shape[1])
    # For each column of patches, the index of the letter of a sign that it shows a part of.
    letter_of_column = ((np.arange(grid) + 0.5) * signs.LENGTH / grid).astype(int)
    targets = []
    for number, step in enumerate(turn.steps):
        target = things & (np.arange(len(things)) == step.visual)[:, None]
        if turn.family == "sign":
            target &= np.tile(number == letter_of_column, grid)
        if step.kind is not None:
            target &= is_kind(str(step.kind), labels)
        targets.append(target)
    return targets


def _targets_of_answer(turn: questions.Turn, conversation: questions.Conversation, labels: np.ndarray) -> np.ndarray:
    """The things that tell an answer; for a count, the last counted thing's centre, where the running count ends."""
    things = labels[..., 0] > 0
    visuals = np.zeros(len(labels), bool)
    match turn.family:
        case "which" | "camera" | "face" | "both":
            return is_kind(turn.topic, labels)
        case "count":
            counted = count_targets(turn, labels)
            return counted & (counted.cumsum().reshape(things.shape) == counted.sum())
        case "change" | "edit":
            return things & (labels[:1, :, :2] != labels[1:, :, :2]).any(-1)
        case "shown" if turn.topic:
            names = list(questions.ORDINALS) if turn.topic in questions.ORDINALS else conversation.names
            visuals[names.index(turn.topic)] = True
        case "first":
            visuals[0] = True
        case "last" | "motion":
            visuals[-1] = True
        case _:
            visuals[:] = turn.family != "greeting"
    return things & visuals[:, None]


def is_kind(kind: str, labels: np.ndarray) -> np.ndarray:
    """True for the patches of things of a kind, such as "red circle": bool [visuals, patches]."""
    colour, shape = kind.split()
    return (labels[..., 0] == SHAPE_NUMBERS[shape]) & (labels[..., 1] == COLOUR_NUMBERS[colour])


def count_targets(turn: questions.Turn, labels: np.ndarray) -> np.ndarray:
    """The centres of the things that a turn counts: bool [visuals, patches]; none for families not in COUNTED."""
    shape, colour, centre = (labels[..., column] for column in range(3))
    if turn.family not in COUNTED:
        return np.zeros(shape.shape, bool)
    if turn.family == "both":
        return (centre > 0) & is_kind(turn.topic, labels)
    if turn.topic in SHAPE_NUMBERS:
        return (centre > 0) & (shape == SHAPE_NUMBERS[turn.topic])
    if turn.topic in COLOUR_NUMBERS:
        return (centre > 0) & (colour == COLOUR_NUMBERS[turn.topic])
    return centre > 0
