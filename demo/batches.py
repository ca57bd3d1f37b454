"""Batches of training: pictures and conversations as tensors, with the labels of the throw-away heads."""

import random

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from llava_interleave_serve.demo import architecture, prompts, questions, scenes

PATCHES = architecture.GRID**2
MAX_VISUALS = 16
# What throw-away heads name, and of how many: of the tower's patches; of the visual rows inside the language model;
# and of the same rows a layer later, what they can only know by looking at what came before.
PATCH_LABELS = {
    "shape": 1 + len(scenes.SHAPES),
    "colour": 1 + len(scenes.COLOURS),
    "centre": 2,
    "row": architecture.GRID,
    "column": architecture.GRID,
}
ROW_LABELS = {
    "ordinal": MAX_VISUALS,
    "kind": 1 + len(scenes.KINDS),
    "place": 2,
    "row": architecture.GRID,
    "column": architecture.GRID,
}
PAIR_LABELS = {
    "before": 2 + len(scenes.KINDS),
    "motion": 1 + len(scenes.DIRECTIONS),
    "camera": 1 + len(questions.CAMERAS),
    "of_shape": 2 + questions.MAX_COUNT,
    "of_colour": 2 + questions.MAX_COUNT,
    "things": 2 + questions.MAX_COUNT,
}
FAMILIES = ("describe", "which", "count", "change", "first", "last", "motion", "shown", "camera", "greeting")
SHAPE_NUMBERS = {shape: 1 + at for at, shape in enumerate(scenes.SHAPES)}
COLOUR_NUMBERS = {colour: 1 + at for at, colour in enumerate(scenes.COLOURS)}
TOWER_BATCH = 128
VISUALS_A_BATCH = 24  # a batch of conversations holds about so many visuals, whatever their number in each
FULL_ROWS = 0.07  # the share of the batches whose rows hold every patch, background too
EASY_COUNT, EASY_KEPT = 3, 0.35  # of the questions whose answer is less, so many are asked
GREETED = 0.02  # the share of the conversations that begin with a greeting
MOTION_SLACK = 1e-6  # of the image's side, across the direction of a straight motion
# The batches of a step, each of conversations of one kind; how many visuals and questions these have.
SINGLE = ("single",) * 4
MIXTURE = ("single", "images", "images", "images", "difference", "cameras", "video")
VISUALS = {
    "single": (1,),
    "images": (2, 3, 4, 5, 6, 7, 8, 8),
    "difference": (2,),
    "cameras": (2, 3, 4, 5, 6, 6),
    "video": (2, 4, 6, 8, 8, 8, 12, 16),
}
QUESTIONS = {"single": (1, 4), "images": (5, 12), "difference": (2, 5), "cameras": (2, 8), "video": (1, 3)}


def pixels(pictures: list[np.ndarray]) -> torch.Tensor:
    """uint8 pictures [S, S, 3] as uint8 [n, 3, S, S]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def tower_batch(rng: random.Random) -> dict[str, torch.Tensor]:
    """Pictures, and PATCH_LABELS of their patches: int64 [TOWER_BATCH, patches, 5]."""
    drawn = [scenes.compose(rng, questions.some_kinds(rng, 5)) for _ in range(TOWER_BATCH)]
    labels = np.stack([scene.patch_labels(architecture.GRID) for scene in drawn])
    places = np.broadcast_to(np.stack(np.divmod(np.arange(PATCHES), architecture.GRID), -1), (*labels.shape[:2], 2))
    labels = np.concatenate([labels, places], -1)
    return {"pixels": pixels([s.draw(architecture.IMAGE_SIZE) for s in drawn]), "labels": torch.from_numpy(labels)}


def conversation(rng: random.Random, kind: str, visuals: int, turns: int) -> questions.Conversation:
    """A random conversation of a kind about so many visuals."""
    match kind:
        case "single":
            talk = questions.single_image(rng, turns)
        case "images":
            talk = questions.images(rng, visuals, turns)
        case "difference":
            talk = questions.difference(rng, turns)
        case "cameras":
            talk = questions.cameras(rng, visuals, turns)
        case _:
            talk = questions.video(rng, visuals, turns)
    if not talk.shown:
        talk.turns = [turn for turn in talk.turns if not is_easy(turn) or rng.random() < EASY_KEPT] or talk.turns[:1]
    return questions.greeted(talk) if rng.random() < GREETED else talk


def is_easy(turn: questions.Turn) -> bool:
    """Whether a turn counts few things, which most do, and which are soon learned."""
    return turn.family == "count" and int(turn.answer.split()[-1].rstrip(".")) < EASY_COUNT


def conversation_batch(rng: random.Random, tokeniser: PreTrainedTokenizerFast, kind: str) -> dict[str, torch.Tensor]:
    """Conversations of a kind, about equally many visuals.

    In most batches most background patches are left out of the language model's rows, which keep their positions: they
    are two thirds of the rows and say nothing.
    """
    visuals, turns = rng.choice(VISUALS[kind]), rng.randint(*QUESTIONS[kind])
    talks = [conversation(rng, kind, visuals, turns) for _ in range(VISUALS_A_BATCH // max(visuals, 2))]
    drawn = [scene for talk in talks for scene in talk.scenes]
    background_kept = 1.0 if rng.random() < FULL_ROWS else rng.choice((0.0, 0.1, 0.2))
    labels = np.stack([scene.patch_labels(architecture.GRID) for scene in drawn])
    kept = labels[..., 0] > 0
    kept |= np.random.default_rng(rng.getrandbits(32)).random(kept.shape) < background_kept
    image = tokeniser.convert_tokens_to_ids("<image>")
    keeps = iter(kept.reshape(len(talks), -1))
    tokens, answers, positions = [], [], []
    looks: list[torch.Tensor] = []
    tallies: list[torch.Tensor] = []
    asked: list[questions.Turn] = []
    for talk, shown in zip(talks, labels.reshape(len(talks), visuals, PATCHES, -1), strict=True):
        row = prompts.training_row(talk, tokeniser, rng)
        whole = torch.tensor(row.tokens)
        is_image = whole == image
        stays = ~is_image
        stays[is_image] = torch.from_numpy(next(keeps))
        tokens.append(whole[stays])
        turn = torch.tensor(row.turns)
        answers.append(torch.where(turn >= 0, turn + len(asked), -1)[stays])
        positions.append(stays.nonzero()[:, 0])
        for marks, told in (
            (looks, asked_about(talk, shown)),
            (tallies, [counted(turn, shown) for turn in talk.turns]),
        ):
            marked = torch.zeros(len(whole), len(talk.turns), dtype=torch.bool)
            marked[is_image] = torch.from_numpy(np.stack(told, -1).reshape(-1, len(talk.turns)))
            marks += list(marked[stays].T)
        asked += talk.turns
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "pixels": pixels([scene.draw(architecture.IMAGE_SIZE) for scene in drawn]),
        "kept": torch.from_numpy(kept),
        "tokens": pad(tokens, True, tokeniser.pad_token_id),
        "answers": pad(answers, True, -1),
        "families": torch.tensor([FAMILIES.index(turn.family) for turn in asked]),
        "topics": torch.tensor([questions.TOPICS.index(turn.about) for turn in asked]),
        "positions": pad(positions, True),
        "looks": pad(looks, True, False),
        "tallies": pad(tallies, True, False),
        "labels": torch.from_numpy(row_labels(talks, labels, visuals)[kept]),
    }


def row_labels(talks: list[questions.Conversation], labels: np.ndarray, visuals: int) -> np.ndarray:
    """ROW_LABELS and PAIR_LABELS of every patch: int64 [talks * visuals, patches, 11]."""
    kinds = np.where(labels[..., 0] > 0, (labels[..., 1] - 1) * len(scenes.SHAPES) + labels[..., 0], 0)
    in_talks = kinds.reshape(len(talks), visuals, PATCHES)
    before = np.roll(in_talks, 1, axis=1)
    before[:, 0] = PAIR_LABELS["before"] - 1  # nothing came before
    ordinals = np.broadcast_to(np.arange(visuals)[None, :, None], before.shape)
    moves = np.array([[0, *map(movement, talk.scenes, talk.scenes[1:])] for talk in talks])
    motion = np.where(in_talks > 0, moves[..., None], 0)
    names = np.array([[1 + questions.CAMERAS.index(name) for name in talk.names] or [0] * visuals for talk in talks])
    cameras = np.broadcast_to(names[..., None], before.shape)
    rows, columns = np.divmod(np.broadcast_to(np.arange(PATCHES), before.shape), architecture.GRID)
    shapes, colours, centres = (labels[..., at].reshape(before.shape) for at in range(3))
    known = (ordinals, in_talks, centres, rows, columns)
    paired = (before, motion, cameras, *(so_far(kinds, centres) for kinds in (shapes, colours, centres)))
    return np.stack((*known, *paired), -1).reshape(len(talks) * visuals, PATCHES, -1)


def asked_about(talk: questions.Conversation, labels: np.ndarray) -> list[np.ndarray]:
    """Which patches tell the answer of each turn: bool [visuals, patches], of labels int64 [visuals, patches, 3].

    Of what is counted, the last thing's centre, where the count so far is the answer.
    """
    shape, colour = labels[..., 0], labels[..., 1]
    things = shape > 0
    told = []
    for turn in talk.turns:
        at = np.zeros(len(labels), bool)
        match turn.family:
            case "which" | "camera":
                named, formed = turn.about.split()
                told.append((shape == SHAPE_NUMBERS[formed]) & (colour == COLOUR_NUMBERS[named]))
                continue
            case "count":
                all_counted = counted(turn, labels)
                told.append(all_counted & (all_counted.cumsum().reshape(shape.shape) == all_counted.sum()))
                continue
            case "change":
                told.append(things & (labels[:1, :, :2] != labels[1:, :, :2]).any(-1))
                continue
            case "shown" if turn.about:
                names = list(questions.ORDINALS) if turn.about in questions.ORDINALS else talk.names
                at[names.index(turn.about)] = True
            case "first":
                at[0] = True
            case "last" | "motion":
                at[-1] = True
            case _:
                at[:] = turn.family != "greeting"
        told.append(things & at[:, None])
    return told


def counted(turn: questions.Turn, labels: np.ndarray) -> np.ndarray:
    """The centres of what a turn has counted: bool [visuals, patches]; of other turns none."""
    shape, colour, centre = (labels[..., at] for at in range(3))
    if turn.family != "count":
        return np.zeros(shape.shape, bool)
    if turn.about in SHAPE_NUMBERS:
        return (centre > 0) & (shape == SHAPE_NUMBERS[turn.about])
    if turn.about in COLOUR_NUMBERS:
        return (centre > 0) & (colour == COLOUR_NUMBERS[turn.about])
    return centre > 0


def so_far(kinds: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """How many things of the same kind a conversation has shown up to and with each thing, at its centre; else 0.

    Both and the result are int64 [talks, visuals, patches]; the most that is told apart is one more than MAX_COUNT.
    """
    counts = np.zeros_like(kinds).reshape(len(kinds), -1)
    for kind in range(1, kinds.max() + 1):
        of_kind = ((kinds == kind) & (centres > 0)).reshape(counts.shape)
        counts += of_kind.cumsum(1) * of_kind
    return counts.clip(max=1 + questions.MAX_COUNT).reshape(kinds.shape)


def movement(before: scenes.Scene, after: scenes.Scene) -> int:
    """Which way the one thing of two scenes moves, from 1, as DIRECTIONS lists them; 0 if it is none of these."""
    if len(before.things) != 1 or len(after.things) != 1 or before.kinds != after.kinds:
        return 0
    dx, dy = after.things[0].x - before.things[0].x, after.things[0].y - before.things[0].y
    ways = [(dx * right + dy * down) for right, down in scenes.DIRECTIONS.values()]
    return 1 + int(np.argmax(ways)) if max(ways) > 0 and min(abs(dx), abs(dy)) < MOTION_SLACK else 0
