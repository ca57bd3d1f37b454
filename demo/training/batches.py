"""Training batches: pictures and conversations as tensors, with labels for the auxiliary heads."""

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast

from llava_interleave_serve.demo import architecture
from llava_interleave_serve.demo.scenes import comparisons, directions, drawing, questions, signs, stories
from llava_interleave_serve.demo.scenes.composing import CROWDED, PLAIN, WIDE, Artist
from llava_interleave_serve.demo.training import attention_targets, labels, prompts

FAMILIES = (
    *("describe", "which", "count", "change", "first", "last", "motion", "shown", "camera", "greeting"),
    *("edit", "both", "caption", "quality", "story", "puzzle", "sign", "video caption", "face"),
)
TOWER_BATCH = 64
WIDE_SHARE = 0.7  # of pictures and of conversations: their scenes are wide
UNKNOWN_SHARE = 0.05  # of the tower's wide pictures, besides those that have no things by their number
POOLED_SHARE, POOL_STRIDE = 0.45, 2  # of the batches of conversations whose kind does not say it
CENTRE = tuple(labels.PATCH_LABELS).index("centre")
ALL_PATCHES_SHARE = 0.07  # of the batches: their rows have every patch, background too
ALL_PATCHES_PAIRS = 6_000_000  # of tokens, at most, in the attention of a head in such a batch
EASY_COUNT, EASY_SHARE = 3, 0.35  # questions whose count is below the first are used with the second's probability
GREETING_SHARE = 0.02  # of the conversations: they begin with a greeting


@dataclass(frozen=True)
class BatchKind:
    """Conversations of one kind, and the size of their batches.

    make: draws a conversation from a generator, a number of visuals, a number of turns and an artist.
    visuals: the numbers of visuals to choose from; all conversations of a batch have the same.
    turns: the least and the greatest number of turns.
    visuals_a_batch: a batch has about so many visuals in all; more where there is little to ask about them.
    pooled_share: of the batches, whose visuals are pooled bilinearly, unless the pooled patches were too few for them.
    """

    make: Callable[[random.Random, int, int, Artist], questions.Conversation]
    visuals: tuple[int, ...]
    turns: tuple[int, int]
    visuals_a_batch: int = 24
    pooled_share: float = POOLED_SHARE


def _single(rng: random.Random, _: int, turns: int, artist: Artist) -> questions.Conversation:
    return questions.single_image(rng, turns, artist)


def _series(rng: random.Random, visuals: int, turns: int, artist: Artist) -> questions.Conversation:
    is_puzzle = visuals > 4 or (visuals > 2 and rng.random() < 0.5)
    return stories.puzzle(rng, visuals, artist) if is_puzzle else stories.story(rng, visuals, turns, artist)


def _pair(rng: random.Random, _: int, turns: int, artist: Artist) -> questions.Conversation:
    return comparisons.alike(rng, turns, artist) if rng.random() < 0.6 else comparisons.compared(rng, turns)


def _reading(rng: random.Random, _: int, turns: int, artist: Artist) -> questions.Conversation:
    return signs.reading(rng) if rng.random() < 0.7 else questions.single_image(rng, turns, artist)


def _edit(rng: random.Random, _: int, turns: int, artist: Artist) -> questions.Conversation:
    return comparisons.edited(rng, turns, artist)


def _caption(rng: random.Random, _: int, turns: int, artist: Artist) -> questions.Conversation:
    return comparisons.captioned(rng, turns, artist)


KINDS = {
    "single": BatchKind(_single, (1,), (1, 3), visuals_a_batch=40),
    "images": BatchKind(questions.images, (2, 3, 4, 5, 6, 7, 8, 8), (5, 12)),
    "edits": BatchKind(_edit, (2,), (1, 4)),
    "pairs": BatchKind(_pair, (2,), (2, 6)),
    "captions": BatchKind(_caption, (4,), (3, 4)),
    "series": BatchKind(_series, (2, 3, 3, 4, 4, 5), (1, 3), visuals_a_batch=60),
    "cameras": BatchKind(directions.cameras, (2, 3, 4, 5, 6, 6), (2, 7)),
    "films": BatchKind(stories.video, (2, 4, 6, 8, 8, 8, 10, 12, 16), (1, 3), visuals_a_batch=60),
    "reading": BatchKind(_reading, (1,), (1, 2), visuals_a_batch=36),
    # About as many tokens a video, in more pooled frames or in fewer whole ones: for the ablation.
    "pooled films": BatchKind(stories.video, (14,), (1, 3), visuals_a_batch=60, pooled_share=1.0),
    "unpooled films": BatchKind(stories.video, (4,), (1, 3), visuals_a_batch=60, pooled_share=0.0),
}


def pixels(pictures: list[np.ndarray]) -> torch.Tensor:
    """Stacks n uint8 pictures [S, S, 3] to uint8 [n, 3, S, S]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def picture(scene: drawing.Scene, side: int) -> np.ndarray:
    """The picture of a scene for the tower, uint8 [S, S, 3]; a plain one is drawn with this side and then scaled."""
    if scene.finish is not None:
        return scene.draw(architecture.IMAGE_SIZE)
    size = (architecture.IMAGE_SIZE, architecture.IMAGE_SIZE)
    return np.asarray(Image.fromarray(scene.draw(side)).resize(size, Image.Resampling.BICUBIC))


def _side(rng: random.Random) -> int:
    """The side of plain pictures as they are sent, in pixels; half of them are small, as in the data set."""
    return rng.randint(*rng.choice(((112, 144), (112, 336))))


def tower_batch(rng: random.Random) -> dict[str, torch.Tensor]:
    """Draws a batch of pictures for the tower.

    Returns "pixels", uint8 [TOWER_BATCH, 3, S, S], and "labels", the PATCH_LABELS, int64 [TOWER_BATCH, patches, 7].
    """
    scenes = [_wide_scene(rng) if rng.random() < WIDE_SHARE else _plain_scene(rng) for _ in range(TOWER_BATCH)]
    return {
        "pixels": pixels([picture(scene, _side(rng)) for scene in scenes]),
        "labels": torch.from_numpy(labels.patch_labels(scenes)),
    }


def _wide_scene(rng: random.Random) -> drawing.Scene:
    artist = rng.choice((WIDE, CROWDED))
    most = 0 if rng.random() < UNKNOWN_SHARE else artist.most_alone
    return artist.compose(rng, questions.some_kinds(rng, most, artist) if most else [])


def _plain_scene(rng: random.Random) -> drawing.Scene:
    return PLAIN.compose(rng, questions.some_kinds(rng, 5)) if rng.random() < 0.5 else _other_scene(rng)


def _other_scene(rng: random.Random) -> drawing.Scene:
    """A sign, sometimes on a dark picture, or shapes on a dark or noisy one."""
    if rng.random() < 0.6:
        scene = signs.reading(rng).scenes[0]
        return comparisons.darken(rng, scene) if rng.random() < 0.1 else scene
    scene = PLAIN.compose(rng, questions.some_kinds(rng, 3))
    dark, noisy = rng.choice(((True, False), (False, True), (True, True)))
    scene = comparisons.darken(rng, scene) if dark else scene
    return comparisons.add_noise(rng, scene) if noisy else scene


def draw_conversation(rng: random.Random, kind: str, visuals: int, turns: int) -> questions.Conversation:
    """Draws a conversation of a kind with so many visuals; most of its easy questions are left out."""
    artist = WIDE if rng.random() < WIDE_SHARE else PLAIN
    conversation = KINDS[kind].make(rng, visuals, turns, artist)
    if not conversation.visuals_per_turn:
        hard = [turn for turn in conversation.turns if not is_easy(turn) or rng.random() < EASY_SHARE]
        conversation.turns = hard or conversation.turns[:1]
    return questions.greeted(conversation) if rng.random() < GREETING_SHARE else conversation


def is_easy(turn: questions.Turn) -> bool:
    """True if the turn counts fewer than EASY_COUNT things: most do, and this is soon learned."""
    return turn.family == "count" and int(turn.answer.split()[-1].rstrip(".")) < EASY_COUNT


@dataclass
class Rows:
    """The token rows of a batch, one for each conversation, with T tokens that differ from row to row.

    tokens: int64 [T] a conversation.
    positions: int64 [T] a conversation: where the token would be if no patch were left out.
    answers: int64 [T] a conversation: the index in `turns` of the turn whose answer the token is part of, else -1.
    steps: int64 [T] a conversation: the index in `step_targets` of the step that the token is part of, else -1.
    turns: the turns of all conversations.
    step_targets: bool [T] a step of all answers: the tokens of patches that tell this step.
    count_targets: bool [T] a turn: the tokens of patches that this turn counts.
    """

    tokens: list[torch.Tensor] = field(default_factory=list)
    positions: list[torch.Tensor] = field(default_factory=list)
    answers: list[torch.Tensor] = field(default_factory=list)
    steps: list[torch.Tensor] = field(default_factory=list)
    turns: list[questions.Turn] = field(default_factory=list)
    step_targets: list[torch.Tensor] = field(default_factory=list)
    count_targets: list[torch.Tensor] = field(default_factory=list)

    def add(
        self,
        conversation: questions.Conversation,
        row: prompts.Row,
        image_token: int,
        patch_labels: np.ndarray,
        patch_mask: np.ndarray,
    ) -> None:
        """Adds a conversation's row without the patches that the mask leaves out.

        patch_labels: PATCH_LABELS of the patches, int64 [visuals, patches, 7]. patch_mask: bool [visuals, patches].
        """
        tokens = torch.tensor(row.tokens)
        is_image = tokens == image_token
        token_mask = ~is_image
        token_mask[is_image] = torch.from_numpy(patch_mask.reshape(-1))
        self.tokens.append(tokens[token_mask])
        self.positions.append(token_mask.nonzero()[:, 0])
        self.answers.append(_offset(row.turns, len(self.turns))[token_mask])
        self.steps.append(_offset(row.steps, len(self.step_targets))[token_mask])
        steps = attention_targets.step_targets(conversation, patch_labels)
        counts = [attention_targets.count_targets(turn, patch_labels) for turn in conversation.turns]
        for targets, patch_targets in ((self.step_targets, itertools.chain(*steps)), (self.count_targets, counts)):
            for patches in patch_targets:
                target = torch.zeros(len(tokens), dtype=torch.bool)
                target[is_image] = torch.from_numpy(patches.reshape(-1))
                targets.append(target[token_mask])
        self.turns += conversation.turns


def _offset(indices: list[int], offset: int) -> torch.Tensor:
    """The indices plus the offset, int64 [T]; -1 stays -1."""
    values = torch.tensor(indices)
    return torch.where(values >= 0, values + offset, -1)


def conversation_batch(
    rng: random.Random, tokeniser: PreTrainedTokenizerFast, kind: str, all_patches_share: float = ALL_PATCHES_SHARE
) -> dict[str, torch.Tensor]:
    """Draws a batch of conversations of a kind, all with equally many visuals.

    In most batches most background patches and some of the things' are left out of the language model's rows, where the
    background is most and tells nothing; the other tokens keep their positions, and so do the centres of things. Of a
    visual without things, as many patches are kept as of things. all_patches_share: of the batches that have them all.

    Returns, for n conversations with v visuals in all, rows padded to T tokens, a answers and s steps:
        "pixels": uint8 [v, 3, S, S]
        "grid": int64 [], the side of a visual's grid of patches, or of pooled patches if it is less
        "patch_mask": bool [v, patches], the patches that are in the rows
        "labels": int64 [patches in the rows, 14], ROW_LABELS and PAIR_LABELS
        "tokens", "positions", "answers", "steps": int64 [n, T], as in `Rows`
        "families", "topics": int64 [a], indices in FAMILIES and TOPICS
        "step_targets", "count_targets": bool [s, T] and [a, T]
    """
    visuals, turns = rng.choice(KINDS[kind].visuals), rng.randint(*KINDS[kind].turns)
    number = KINDS[kind].visuals_a_batch // visuals
    is_pooled, has_all = rng.random() < KINDS[kind].pooled_share, rng.random() < all_patches_share
    grid = math.ceil(architecture.GRID / POOL_STRIDE) if is_pooled else architecture.GRID
    if has_all:
        number = max(1, min(number, ALL_PATCHES_PAIRS // (visuals * grid**2) ** 2))
    conversations = [draw_conversation(rng, kind, visuals, turns) for _ in range(number)]
    things_share, background_share = (rng.choice((0.3, 0.6, 1.0)), rng.choice((0.0, 0.05, 0.1)))
    if has_all:
        things_share = background_share = 1.0
    scenes = [scene for conversation in conversations for scene in conversation.scenes]
    sides = [(conversation, _side(rng)) for conversation in conversations]
    patch_labels = labels.patch_labels(scenes, grid)
    if is_pooled and patch_labels[..., CENTRE].sum() < sum(len(scene.things) for scene in scenes):
        grid = architecture.GRID  # two things would be one
        patch_labels = labels.patch_labels(scenes, grid)
    row_labels = labels.row_labels(conversations, patch_labels)
    is_thing = row_labels[..., tuple(labels.ROW_LABELS).index("kind")] > 0
    is_thing |= ~is_thing.any(1, keepdims=True)
    lots = np.random.default_rng(rng.getrandbits(32)).random(is_thing.shape)
    patch_mask = (patch_labels[..., CENTRE] > 0) | (lots < np.where(is_thing, things_share, background_share))
    image_token = tokeniser.convert_tokens_to_ids("<image>")
    rows = Rows()
    of_conversations = (np.split(values, number) for values in (patch_labels, patch_mask))
    for conversation, its_labels, its_mask in zip(conversations, *of_conversations, strict=True):
        row = prompts.training_row(conversation, tokeniser, rng, grid**2)
        rows.add(conversation, row, image_token, its_labels, its_mask)
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "pixels": pixels([picture(scene, side) for each, side in sides for scene in each.scenes]),
        "grid": torch.tensor(grid),
        "patch_mask": torch.from_numpy(patch_mask),
        "tokens": pad(rows.tokens, True, tokeniser.pad_token_id),
        "answers": pad(rows.answers, True, -1),
        "steps": pad(rows.steps, True, -1),
        "families": torch.tensor([FAMILIES.index(turn.family) for turn in rows.turns]),
        "topics": torch.tensor([questions.TOPICS.index(turn.topic) for turn in rows.turns]),
        "positions": pad(rows.positions, True),
        "step_targets": pad(rows.step_targets, True, False),
        "count_targets": pad(rows.count_targets, True, False),
        "labels": torch.from_numpy(row_labels[patch_mask]),
    }
