"""Batches hold the conversations' answers, and the attention targets of their steps and counts."""

import random

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from llava_interleave_serve.demo import tokenizer
from llava_interleave_serve.demo.training import batches, labels, train

KIND = tuple(labels.ROW_LABELS).index("kind")


@pytest.fixture(scope="module")
def tokeniser() -> PreTrainedTokenizerFast:
    return tokenizer.load_or_train(train.CHECKPOINT)


@pytest.mark.parametrize("kind", batches.KINDS)
def test_the_tensors_of_a_batch_of_every_kind_agree(kind: str, tokeniser: PreTrainedTokenizerFast) -> None:
    batch = batches.conversation_batch(random.Random(kind), tokeniser, kind)
    is_image = batch["tokens"] == tokeniser.convert_tokens_to_ids("<image>")
    assert is_image.sum() == batch["patch_mask"].sum() == len(batch["labels"])
    assert batch["labels"].shape[1] == len(labels.ROW_LABELS) + len(labels.PAIR_LABELS)
    answered = batch["answers"] >= 0
    assert (answered == (batch["steps"] >= 0)).all()
    assert set(batch["answers"][answered].tolist()) == set(range(len(batch["families"])))
    assert set(batch["steps"][answered].tolist()) == set(range(len(batch["step_targets"])))
    ends = batch["tokens"][answered] == tokeniser.eos_token_id
    assert ends.sum() == len(batch["families"])
    # Targets are rows of visuals of the same conversation.
    for name, of in (("step_targets", "steps"), ("count_targets", "answers")):
        for number, marks in enumerate(batch[name]):
            (row,) = {int(index) for index in (batch[of] == number).nonzero()[:, 0]}
            assert not (marks & ~is_image[row][: len(marks)]).any()


def test_a_batch_follows_from_its_seed(tokeniser: PreTrainedTokenizerFast) -> None:
    first, second = (batches.conversation_batch(random.Random(3), tokeniser, "series") for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_pooled_visuals_have_as_many_rows_as_the_server_gives_them(tokeniser: PreTrainedTokenizerFast) -> None:
    grids = set()
    for seed in range(12):
        batch = batches.conversation_batch(random.Random(seed), tokeniser, "pairs")
        grids.add(int(batch["grid"]))
        assert batch["patch_mask"].shape == (len(batch["pixels"]), int(batch["grid"]) ** 2)
    assert grids == {13, 7}
    tokens = {
        kind: batches.conversation_batch(random.Random(0), tokeniser, f"{kind} films")["patch_mask"][0].numel() * frames
        for kind, frames in (("pooled", 14), ("unpooled", 4))
    }
    assert tokens == {"pooled": 686, "unpooled": 676}


def test_a_batch_of_pictures_has_plain_and_wide_ones() -> None:
    batch = batches.tower_batch(random.Random(1))
    is_known = (batch["labels"][..., tuple(labels.PATCH_LABELS).index("dark")] != labels.UNKNOWN).all(-1)
    assert 8 < is_known.sum() < 32


def test_some_pictures_show_nothing_that_has_a_name(tokeniser: PreTrainedTokenizerFast) -> None:
    batch = batches.tower_batch(random.Random(2))
    is_empty = (batch["labels"][..., 0] == 0).all(-1)
    assert 1 < is_empty.sum() < 20
    turns = [
        turn
        for seed in range(60)
        for turn in batches.draw_conversation(random.Random(seed), "single", 1, 1).turns
        if turn.family == "describe"
    ]
    assert "Nothing that I know." in {turn.answer for turn in turns}
    assert max(turn.answer.count(" a ") for turn in turns) >= 4


def test_pictures_of_nothing_are_seen_as_far_as_things_are(tokeniser: PreTrainedTokenizerFast) -> None:
    kept: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(20):
        batch = batches.conversation_batch(random.Random(seed), tokeniser, "single", all_patches_share=0.0)
        masks = batch["patch_mask"]
        visual = torch.arange(len(masks)).repeat_interleave(masks.sum(1))
        things = torch.zeros(len(masks)).index_add(0, visual, (batch["labels"][:, KIND] > 0).float())
        for mask, has_things in zip(masks, (things > 0).tolist(), strict=True):
            kept[has_things].append(mask.float().mean().item())
    assert len(kept[False]) > 20
    assert sum(kept[False]) / len(kept[False]) > 0.4
    assert sum(kept[True]) / len(kept[True]) < 0.4


def test_a_batch_may_have_every_patch(tokeniser: PreTrainedTokenizerFast) -> None:
    batch = batches.conversation_batch(random.Random(0), tokeniser, "images", all_patches_share=1.0)
    assert batch["patch_mask"].all()
