"""Batches hold the conversations' answers, and the attention targets of their steps and counts."""

import random

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from llava_interleave_serve.demo import tokenizer
from llava_interleave_serve.demo.training import batches, labels, train


@pytest.fixture(scope="module")
def tokeniser() -> PreTrainedTokenizerFast:
    return tokenizer.extend(tokenizer.load_or_train(train.CHECKPOINT))


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


def test_plain_pictures_are_those_of_the_first_stage() -> None:
    batch = batches.tower_batch(random.Random(1), plain_share=0.5)
    shape, dark, noisy = (
        batch["labels"][..., tuple(labels.PATCH_LABELS).index(name)] for name in ("shape", "dark", "noisy")
    )
    other = ((shape > 4) | (dark > 0) | (noisy > 0)).any(-1)
    assert (other == ~batch["plain"]).all()
    assert 30 < batch["plain"].sum() < 98
