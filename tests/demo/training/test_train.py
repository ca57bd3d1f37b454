"""Training starts from a checkpoint, and resumes from its saved state."""

import copy
import random
from pathlib import Path

import pytest
import torch
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from llava_interleave_serve.demo import tokenizer
from llava_interleave_serve.demo.training import batches, train
from llava_interleave_serve.demo.training.progress import Progress
from llava_interleave_serve.demo.training.stages import FROM_CHECKPOINT, STAGES, Stage
from llava_interleave_serve.demo.training.trainee import Trainee, load_checkpoint, new_trainee

LETTERS = Stage("letters", steps=2, rate=1e-3, cooldown=0.5)
FURTHER = Stage("further", steps=2, rate=1e-3, cooldown=0.5)


@pytest.fixture(scope="module")
def tokeniser() -> PreTrainedTokenizerFast:
    return tokenizer.extend(tokenizer.load_or_train(train.CHECKPOINT))


@pytest.fixture
def trainee(tokeniser: PreTrainedTokenizerFast) -> Trainee:
    trainee = new_trainee(tokeniser)
    load_checkpoint(trainee, train.CHECKPOINT, tokeniser)
    return trainee


def test_weights_of_a_checkpoint_are_kept_and_new_tokens_begin_as_their_pieces(tmp_path: Path) -> None:
    before = tokenizer.train()
    small = new_trainee(before)
    small.model.save_pretrained(tmp_path)
    before.save_pretrained(tmp_path)
    after = tokenizer.extend(before)
    larger = new_trainee(after)
    load_checkpoint(larger, tmp_path, after)
    saved = LlavaForConditionalGeneration.from_pretrained(tmp_path).state_dict()
    loaded = larger.model.state_dict()
    for name, tensor in saved.items():
        assert torch.equal(loaded[name][: len(tensor)], tensor), name
    rows = larger.model.get_input_embeddings().weight
    for word in (" caption", "Tell"):
        (number,) = after.encode(word)
        assert number >= len(before)
        assert torch.allclose(rows[number], rows[before.encode(word)].mean(0))


def test_the_drift_loss_grows_when_features_of_plain_pictures_change(trainee: Trainee) -> None:
    batch = batches.tower_batch(random.Random(0), plain_share=0.5)
    trainee.tower_before = [copy.deepcopy(trainee.model.model.vision_tower)]
    loss, figures = trainee.tower_loss(batch)
    assert figures["moved"] == 0.0
    with torch.no_grad():
        trainee.model.model.vision_tower.embeddings.position_embedding.weight.add_(0.1)
    moved, figures = trainee.tower_loss(batch)
    assert figures["moved"] > 0.0
    assert moved > loss


def test_new_auxiliary_heads_send_no_gradient_into_the_model(trainee: Trainee) -> None:
    batch = batches.tower_batch(random.Random(0))
    trainee.tower_loss(batch)[0].backward()
    assert trainee.patch_head.weight.grad is not None
    assert all(p.grad is None or not p.grad.any() for p in trainee.model.model.vision_tower.parameters())


def test_each_training_stage_changes_only_its_part_of_the_model(
    trainee: Trainee, tokeniser: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    progress = Progress(tmp_path)
    assert progress.stage is None
    for stage, trained in ((LETTERS, "vision_tower"), (FURTHER, "language_model")):
        before = copy.deepcopy(trainee.model.state_dict())
        train.train_stage(stage, trainee, tokeniser, progress, save_every=0.0)
        assert progress.stage == stage.name
        moved = {name for name, tensor in trainee.model.state_dict().items() if not torch.equal(tensor, before[name])}
        assert any(trained in name for name in moved)
        assert {"vision_tower" in name for name in moved} == {trained == "vision_tower"}


def test_a_resumed_training_run_ends_as_an_uninterrupted_one(
    trainee: Trainee, tokeniser: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    whole = copy.deepcopy(trainee)
    for folder in ("whole", "stopped"):
        (tmp_path / folder).mkdir()
    three = Stage("letters", steps=3, rate=1e-3, cooldown=0.0)
    train.train_stage(three, whole, tokeniser, Progress(tmp_path / "whole"), save_every=1e9)
    # Two of the steps, and the third by another trainee, from the saved state.
    first = copy.deepcopy(trainee)
    train.train_stage(
        Stage("letters", steps=2, rate=1e-3, cooldown=0.0), first, tokeniser, Progress(tmp_path / "stopped"), 0.0
    )
    train.train_stage(three, trainee, tokeniser, Progress(tmp_path / "stopped"), 1e9)
    for name, tensor in whole.state_dict().items():
        assert torch.allclose(tensor, trainee.state_dict()[name], atol=1e-6), name


def test_the_stages_after_a_checkpoint_are_letters_and_further() -> None:
    assert [stage.name for stage in STAGES[FROM_CHECKPOINT:]] == ["letters", "further"]
