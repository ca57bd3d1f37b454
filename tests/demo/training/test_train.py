"""Training begins with a checkpoint's language model, and resumes from its saved state."""

import copy
import random
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from llava_interleave_serve.demo import tokenizer
from llava_interleave_serve.demo.training import batches, stages, train
from llava_interleave_serve.demo.training.progress import Progress
from llava_interleave_serve.demo.training.stages import Stage
from llava_interleave_serve.demo.training.trainee import Trainee, load_start, new_trainee, pooled
from llava_interleave_serve.kernels import reference

TOWER = Stage("tower", steps=2, rate=1e-3, cooldown=0.5)
QUESTIONS = Stage("questions", steps=2, rate=1e-3, cooldown=0.5, kinds=("single", "pairs"), batches=2)
PARTS = ("vision_tower", "multi_modal_projector", "language_model")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "TOWER_BATCH", 12)


@pytest.fixture(scope="module")
def tokeniser() -> PreTrainedTokenizerFast:
    return tokenizer.load_or_train(train.CHECKPOINT)


@pytest.fixture
def trainee(tokeniser: PreTrainedTokenizerFast) -> Trainee:
    trainee = new_trainee(tokeniser)
    load_start(trainee, train.CHECKPOINT, tokeniser)
    return trainee


def test_the_language_model_at_the_start_is_the_checkpoints(trainee: Trainee) -> None:
    start = LlavaForConditionalGeneration.from_pretrained(train.CHECKPOINT, dtype=torch.float32).model.language_model
    tokens = torch.arange(100, 140).unsqueeze(0)
    with torch.no_grad():
        wanted, found = (
            model(input_ids=tokens).last_hidden_state for model in (start, trainee.model.model.language_model)
        )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--ablation", "unpooled"], "and not pooled"),
        (["--start", "CHECKPOINT"], "has a run without --start"),
    ],
    ids=["a state of another ablation", "a start that comes late"],
)
def test_options_that_do_not_fit_the_folder_are_refused(
    arguments: list[str],
    says: str,
    tokeniser: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tokeniser.save_pretrained(tmp_path)
    if "--ablation" in arguments:
        trainee = new_trainee(tokeniser)
        Progress(tmp_path).save(stages.ABLATION["pooled"], 1, trainee, [])
    given = [str(train.CHECKPOINT) if argument == "CHECKPOINT" else argument for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["train", str(tmp_path), *given])
    with pytest.raises(SystemExit):
        train.main()
    assert says in capsys.readouterr().err


def test_a_start_of_another_tokeniser_is_refused(tmp_path: Path) -> None:
    other = tokenizer.train()
    other.save_pretrained(tmp_path)
    trainee = new_trainee(other)
    with pytest.raises(ValueError, match="another tokeniser"):
        load_start(trainee, train.CHECKPOINT, other)


def test_rows_are_pooled_as_the_server_pools_them() -> None:
    rows = torch.randn(3, 169, 8)
    assert pooled(rows, 13) is rows
    torch.testing.assert_close(pooled(rows, 7), reference.pool(rows, "bilinear", 2))


def test_new_auxiliary_heads_send_no_gradient_into_the_model(trainee: Trainee) -> None:
    trainee.tower_loss(batches.tower_batch(random.Random(0)))[0].backward()
    assert trainee.patch_head.weight.grad is not None
    assert all(p.grad is None or not p.grad.any() for p in trainee.model.model.vision_tower.parameters())


def test_each_training_stage_changes_only_its_part_of_the_model(
    trainee: Trainee, tokeniser: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    progress = Progress(tmp_path)
    assert progress.stage is None
    for stage, kept in ((TOWER, set(PARTS[1:])), (QUESTIONS, set(PARTS[:1]))):
        before = copy.deepcopy(trainee.model.state_dict())
        train.train_stage(stage, trainee, tokeniser, progress, save_every=0.0)
        assert progress.stage == stage.name
        moved = {name for name, tensor in trainee.model.state_dict().items() if not torch.equal(tensor, before[name])}
        assert {part for part in PARTS if not any(part in name for name in moved)} == kept


def test_a_resumed_training_run_ends_as_an_uninterrupted_one(
    trainee: Trainee, tokeniser: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    whole = copy.deepcopy(trainee)
    for folder in ("whole", "stopped"):
        (tmp_path / folder).mkdir()
    three = Stage("tower", steps=3, rate=1e-3, cooldown=0.0)
    train.train_stage(three, whole, tokeniser, Progress(tmp_path / "whole"), save_every=1e9)
    # Two of the steps, and the third by another trainee, from the saved state.
    first = copy.deepcopy(trainee)
    train.train_stage(
        Stage("tower", steps=2, rate=1e-3, cooldown=0.0), first, tokeniser, Progress(tmp_path / "stopped"), 0.0
    )
    train.train_stage(three, trainee, tokeniser, Progress(tmp_path / "stopped"), 1e9)
    for name, tensor in whole.state_dict().items():
        assert torch.allclose(tensor, trainee.state_dict()[name], atol=1e-6), name


def test_a_run_has_all_stages_and_then_its_ablation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    monkeypatch.setattr(train, "train_stage", lambda stage, *_: trained.append(stage.name))
    for arguments in ([], ["--start", str(train.CHECKPOINT), "--ablation", "pooled"]):
        monkeypatch.setattr(sys, "argv", ["train", str(tmp_path / str(len(arguments))), *arguments])
        train.main()
    assert trained == [*stages.STAGE_NAMES, *stages.STAGE_NAMES, "pooled"]
    assert (tmp_path / "4" / "start" / "config.json").exists()
