"""Batches of training: pictures and conversations as tensors, with the labels of the throw-away heads."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from llava_interleave_serve.demo import architecture
from llava_interleave_serve.demo.scenes import comparisons, directions, drawing, questions, signs, stories
from llava_interleave_serve.demo.training import labels, lessons, prompts

FAMILIES = (
    *("describe", "which", "count", "change", "first", "last", "motion", "shown", "camera", "greeting"),
    *("edit", "both", "caption", "quality", "story", "puzzle", "sign", "video caption", "face"),
)
TOWER_BATCH = 128
FULL_ROWS = 0.07  # the share of the batches whose rows hold every patch, background too
EASY_COUNT, EASY_KEPT = 3, 0.35  # of the questions whose answer is less, so many are asked
GREETED = 0.02  # the share of the conversations that begin with a greeting


@dataclass(frozen=True)
class Kind:
    """Conversations of one kind. make: from a generator, a number of visuals and one of turns.

    visuals: how many they have, one of these; turns: the fewest and the most. room: a batch holds about so many
    visuals, whatever their number in each conversation; more where there is little to ask about them.
    """

    make: Callable[[random.Random, int, int], questions.Conversation]
    visuals: tuple[int, ...]
    turns: tuple[int, int]
    room: int = 24


def _series(rng: random.Random, visuals: int, turns: int) -> questions.Conversation:
    is_puzzle = visuals > 4 or (visuals > 2 and rng.random() < 0.5)
    return stories.puzzle(rng, visuals) if is_puzzle else stories.story(rng, visuals, turns)


def _pair(rng: random.Random, _: int, turns: int) -> questions.Conversation:
    return rng.choice((comparisons.alike, comparisons.compared))(rng, turns)


def _reading(rng: random.Random, _: int, turns: int) -> questions.Conversation:
    return signs.reading(rng) if rng.random() < 0.7 else questions.single_image(rng, turns)


KINDS = {
    "single": Kind(lambda rng, _, turns: questions.single_image(rng, turns), (1,), (1, 4)),
    "images": Kind(questions.images, (2, 3, 4, 5, 6, 7, 8, 8), (5, 12)),
    "difference": Kind(lambda rng, _, turns: questions.difference(rng, turns), (2,), (2, 5)),
    "cameras": Kind(questions.cameras, (2, 3, 4, 5, 6, 6), (2, 8)),
    "video": Kind(questions.video, (2, 4, 6, 8, 8, 8, 12, 16), (1, 3)),
    "edits": Kind(lambda rng, _, turns: comparisons.edited(rng, turns), (2,), (1, 3)),
    "pairs": Kind(_pair, (2,), (2, 6)),
    "captions": Kind(lambda rng, _, turns: comparisons.captioned(rng, turns), (4,), (3, 4)),
    "series": Kind(_series, (2, 3, 3, 4, 4, 5), (1, 3), room=60),
    "steps": Kind(directions.cameras, (2, 3, 4, 5, 6, 6), (2, 6)),
    "films": Kind(stories.video, (4, 6, 8, 8, 10, 12, 16, 16), (1, 2), room=60),
    "reading": Kind(_reading, (1,), (1, 2), room=36),
}
# The batches of a step of each stage.
SINGLE = ("single",) * 4
MIXTURE = ("single", "images", "images", "images", "difference", "cameras", "video")
FURTHER = ("images", "images", "images", "edits", "pairs", "captions", "series", "steps", "films", "reading")
FURTHER_A_STEP = 6  # so many of them, by turns


def pixels(pictures: list[np.ndarray]) -> torch.Tensor:
    """uint8 pictures [S, S, 3] as uint8 [n, 3, S, S]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def tower_batch(rng: random.Random, plain: float = 1.0) -> dict[str, torch.Tensor]:
    """Pictures, and labels.PATCH_LABELS of their patches: int64 [TOWER_BATCH, patches, 7].

    plain: the share of the pictures that show shapes alone, on pale paper; "plain": which they are, bool [TOWER_BATCH].
    """
    is_plain = [rng.random() < plain for _ in range(TOWER_BATCH)]
    drawn = [drawing.compose(rng, questions.some_kinds(rng, 5)) if one else _other_scene(rng) for one in is_plain]
    return {
        "pixels": pixels([scene.draw(architecture.IMAGE_SIZE) for scene in drawn]),
        "labels": torch.from_numpy(labels.of_patches(drawn)),
        "plain": torch.tensor(is_plain),
    }


def _other_scene(rng: random.Random) -> drawing.Scene:
    """A sign, or shapes on a dark or noisy picture, or both."""
    if rng.random() < 0.6:
        scene = signs.reading(rng).scenes[0]
        return comparisons.darkened(rng, scene) if rng.random() < 0.1 else scene
    scene = drawing.compose(rng, questions.some_kinds(rng, 3))
    dark, noisy = rng.choice(((True, False), (False, True), (True, True)))
    scene = comparisons.darkened(rng, scene) if dark else scene
    return comparisons.roughened(rng, scene) if noisy else scene


def conversation(rng: random.Random, kind: str, visuals: int, turns: int) -> questions.Conversation:
    """A random conversation of a kind about so many visuals."""
    talk = KINDS[kind].make(rng, visuals, turns)
    if not talk.shown:
        talk.turns = [turn for turn in talk.turns if not is_easy(turn) or rng.random() < EASY_KEPT] or talk.turns[:1]
    return questions.greeted(talk) if rng.random() < GREETED else talk


def is_easy(turn: questions.Turn) -> bool:
    """Whether a turn counts few things, which most do, and which are soon learned."""
    return turn.family == "count" and int(turn.answer.split()[-1].rstrip(".")) < EASY_COUNT


@dataclass
class Rows:
    """The rows of a batch's conversations: a tensor each of tokens and positions, and what each token is of.

    answers, steps: of which turn's answer a token is, and of which step of an answer, counted through the batch; else
    -1. asked: the turns. looks, tallies: which tokens tell each step, and are counted by each turn.
    """

    tokens: list[torch.Tensor] = field(default_factory=list)
    positions: list[torch.Tensor] = field(default_factory=list)
    answers: list[torch.Tensor] = field(default_factory=list)
    steps: list[torch.Tensor] = field(default_factory=list)
    asked: list[questions.Turn] = field(default_factory=list)
    looks: list[torch.Tensor] = field(default_factory=list)
    tallies: list[torch.Tensor] = field(default_factory=list)

    def add(
        self, talk: questions.Conversation, row: prompts.Row, image: int, shown: np.ndarray, kept: np.ndarray
    ) -> None:
        """Adds a conversation, of whose patches only some are kept: bool [visuals, patches].

        shown: labels.PATCH_LABELS of the patches, int64 [visuals, patches, 7].
        """
        whole = torch.tensor(row.tokens)
        is_image = whole == image
        stays = ~is_image
        stays[is_image] = torch.from_numpy(kept.reshape(-1))
        self.tokens.append(whole[stays])
        self.positions.append(stays.nonzero()[:, 0])
        for numbers, before, found in (
            (row.turns, len(self.asked), self.answers),
            (row.steps, len(self.looks), self.steps),
        ):
            of = torch.tensor(numbers)
            found.append(torch.where(of >= 0, of + before, -1)[stays])
        marked = [mark for steps in lessons.asked_about(talk, shown) for mark in steps]
        for marks, told in (
            (self.looks, marked),
            (self.tallies, [lessons.counted(turn, shown) for turn in talk.turns]),
        ):
            for mark in told:
                of_row = torch.zeros(len(whole), dtype=torch.bool)
                of_row[is_image] = torch.from_numpy(mark.reshape(-1))
                marks.append(of_row[stays])
        self.asked += talk.turns


def conversation_batch(rng: random.Random, tokeniser: PreTrainedTokenizerFast, kind: str) -> dict[str, torch.Tensor]:
    """Conversations of a kind, about equally many visuals.

    In most batches most background patches are left out of the language model's rows, which keep their positions: they
    are two thirds of the rows and say nothing.
    """
    visuals, turns = rng.choice(KINDS[kind].visuals), rng.randint(*KINDS[kind].turns)
    talks = [conversation(rng, kind, visuals, turns) for _ in range(KINDS[kind].room // max(visuals, 2))]
    background_kept = 1.0 if rng.random() < FULL_ROWS else rng.choice((0.0, 0.1, 0.2))
    drawn = [scene for talk in talks for scene in talk.scenes]
    of_patches = labels.of_patches(drawn)
    of_rows = labels.of_rows(talks, of_patches)
    kept = of_rows[..., tuple(labels.ROW_LABELS).index("kind")] > 0
    kept |= np.random.default_rng(rng.getrandbits(32)).random(kept.shape) < background_kept
    image = tokeniser.convert_tokens_to_ids("<image>")
    rows = Rows()
    for talk, shown, keeps in zip(talks, np.split(of_patches, len(talks)), np.split(kept, len(talks)), strict=True):
        rows.add(talk, prompts.training_row(talk, tokeniser, rng), image, shown, keeps)
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "pixels": pixels([scene.draw(architecture.IMAGE_SIZE) for scene in drawn]),
        "kept": torch.from_numpy(kept),
        "tokens": pad(rows.tokens, True, tokeniser.pad_token_id),
        "answers": pad(rows.answers, True, -1),
        "steps": pad(rows.steps, True, -1),
        "families": torch.tensor([FAMILIES.index(turn.family) for turn in rows.asked]),
        "topics": torch.tensor([questions.TOPICS.index(turn.about) for turn in rows.asked]),
        "positions": pad(rows.positions, True),
        "looks": pad(rows.looks, True, False),
        "tallies": pad(rows.tallies, True, False),
        "labels": torch.from_numpy(of_rows[kept]),
    }
