"""Trains the demo checkpoint from nothing: `python -m llava_interleave_serve.demo.training.train WORK`.

The stages (`stages.STAGES`, demo/README.md): the tower, with an auxiliary head that names shape, colour and centre of
every patch; then, with the tower frozen as in the published models, projector and language model on single images, then
on every family of questions. `--start CHECKPOINT` begins with the language model of a checkpoint. The run can be
stopped and resumed at any time: the state is saved in WORK, and every batch follows from its stage and step.
"""

import argparse
import math
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import PreTrainedTokenizerFast

from llava_interleave_serve.demo import tokenizer
from llava_interleave_serve.demo.training.batches import conversation_batch, tower_batch
from llava_interleave_serve.demo.training.muon import Muon
from llava_interleave_serve.demo.training.progress import Progress
from llava_interleave_serve.demo.training.stages import ABLATION, STAGE_NAMES, STAGES, Stage
from llava_interleave_serve.demo.training.trainee import Trainee, load_start, new_trainee

CHECKPOINT = Path(__file__).resolve().parent.parent / "checkpoint"


class Batches(IterableDataset):
    """The batches of a stage, a list for each step from `start` on; they depend on stage and step alone."""

    def __init__(self, stage: Stage, start: int, tokeniser: PreTrainedTokenizerFast) -> None:
        self.stage, self.start, self.tokeniser = stage, start, tokeniser

    def __iter__(self) -> Iterator[list[dict[str, torch.Tensor]]]:
        torch.set_num_threads(1)
        for step in range(self.start, self.stage.steps):
            rng = random.Random(f"{self.stage.name}-{step}")
            if not self.stage.kinds:
                yield [tower_batch(rng)]
            else:
                kinds = rng.sample(self.stage.kinds, self.stage.batches)
                yield [conversation_batch(rng, self.tokeniser, kind, self.stage.all_patches_share) for kind in kinds]


def optimisers(trainee: Trainee, stage: Stage) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, and AdamW for the other parameters of the stage.

    A stage without conversations trains the tower; the others train projector and language model.
    """
    model = trainee.model.model
    parts = [model.vision_tower, trainee.patch_head]
    if stage.kinds:
        parts = [
            model.multi_modal_projector,
            model.language_model,
            trainee.row_head,
            trainee.pair_head,
            trainee.topic_head,
        ]
    named = [(name, parameter) for part in parts for name, parameter in part.named_parameters()]
    hidden = [p for name, p in named if p.ndim == 2 and "layers" in name]
    others = [p for name, p in named if not (p.ndim == 2 and "layers" in name)]
    return [Muon(hidden, stage.rate), torch.optim.AdamW(others, stage.rate, betas=(0.9, 0.98), weight_decay=0.01)]


def train_stage(
    stage: Stage,
    trainee: Trainee,
    tokeniser: PreTrainedTokenizerFast,
    progress: Progress,
    save_every: float,
    bfloat16: bool = False,
) -> None:
    """Trains one stage to its end, from its saved state if there is one.

    save_every: seconds between saves.
    bfloat16: matrices are multiplied in bfloat16; weights, gradients and optimisers stay in float32.

    Raises FloatingPointError if a gradient is not finite.
    """
    stage_optimisers = optimisers(trainee, stage)
    start = progress.resume(stage, trainee, stage_optimisers)
    if stage.name == "single" and start == 0:
        trainee.centre_projector(tower_batch(random.Random(0))["pixels"])
    loss_of = trainee.answer_loss if stage.kinds else trainee.tower_loss
    trained = [
        parameter for optimiser in stage_optimisers for group in optimiser.param_groups for parameter in group["params"]
    ]
    loader = DataLoader(Batches(stage, start, tokeniser), batch_size=None, num_workers=1, prefetch_factor=8)
    saved_at = time.monotonic()
    for step, batches in enumerate(loader, start):
        for optimiser in stage_optimisers:
            optimiser.zero_grad()
            for group in optimiser.param_groups:
                group["lr"] = stage.rate_at(step)
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss, figures = loss_of(batch)
            (loss / len(batches)).backward()
            progress.note(figures | {"loss": loss.item()})
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        if not math.isfinite(norm):
            raise FloatingPointError(f"stage {stage.name}, step {step}: the gradient is {norm}")
        for optimiser in stage_optimisers:
            optimiser.step()
        progress.log(stage, step + 1)
        if step + 1 == stage.steps or time.monotonic() - saved_at > save_every:
            progress.save(stage, step + 1, trainee, stage_optimisers)
            saved_at = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder of the state and the log")
    parser.add_argument(
        "--start",
        type=Path,
        help="a checkpoint whose language model the training begins with",
    )
    parser.add_argument("--ablation", choices=ABLATION, help="a short training on videos after the stages")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=float, default=120.0, metavar="SECONDS")
    parser.add_argument("--bfloat16", action="store_true", help="faster where the CPU has AVX512-BF16 or AMX")
    parser.add_argument("--stop-after", choices=STAGE_NAMES)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    start, saved = arguments.work / "start", arguments.work / "tokenizer.json"
    if arguments.start and not start.exists():
        if saved.exists():
            parser.error(f"{arguments.work} has a run without --start")
        new = arguments.work / "start.new"
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(arguments.start, new).rename(start)
    if start.exists() and not saved.exists():
        tokenizer.load_or_train(start).save_pretrained(arguments.work)
    tokeniser = tokenizer.load_or_train(arguments.work)
    trainee, progress = new_trainee(tokeniser), Progress(arguments.work)
    if start.exists():
        load_start(trainee, start, tokeniser)
    stages = [*STAGES, *([ABLATION[arguments.ablation]] if arguments.ablation else [])]
    names, saved_stage = [stage.name for stage in stages], progress.stage
    for name in (arguments.stop_after, saved_stage):
        if name and name not in names:
            parser.error(f"{arguments.work}: this run has the stages {', '.join(names)}, and not {name}")
    for stage in stages[names.index(saved_stage) if saved_stage else 0 :]:
        train_stage(stage, trainee, tokeniser, progress, arguments.save_every, arguments.bfloat16)
        if stage.name == arguments.stop_after:
            break


if __name__ == "__main__":
    main()
