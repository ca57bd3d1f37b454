"""Trains the demo checkpoint from nothing: `python -m llava_interleave_serve.demo.train WORK`.

First the tower, with a throw-away head that names shape, colour and centre of every patch; then, the tower frozen as in
the published models, projector and language model: single images, then everything. Stops and resumes at any time: the
state is saved in WORK, and every batch follows from its stage and step.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from llava_interleave_serve.demo import architecture, prompts, questions, scenes, tokenizer
from llava_interleave_serve.demo.muon import Muon

CHECKPOINT = Path(__file__).parent / "checkpoint"
PATCHES = architecture.GRID**2
MAX_VISUALS = 16
# What throw-away heads name, and of how many: of the tower's patches; of the visual rows after so many of the language
# model's layers; and of the same rows a layer later, what they can only know by looking at what came before.
PATCH_LABELS = {
    "shape": 1 + len(scenes.SHAPES),
    "colour": 1 + len(scenes.COLOURS),
    "centre": 2,
    "row": architecture.GRID,
    "column": architecture.GRID,
}
ROW_LAYER = 2
ROW_LABELS = {"ordinal": MAX_VISUALS, "kind": 1 + len(scenes.KINDS), "place": 2}
PAIR_LAYER = 3
PAIR_LABELS = {
    "before": 2 + len(scenes.KINDS),
    "motion": 1 + len(scenes.DIRECTIONS),
    "camera": 1 + len(questions.CAMERAS),
}


@dataclass(frozen=True)
class Stage:
    """steps: of one batch; rate: AdamW's and Muon's peak; cooldown: the share of the steps in which it falls to 0."""

    name: str
    steps: int
    rate: float
    cooldown: float

    def rate_at(self, step: int) -> float:
        warm = min(1.0, (step + 1) / 100)
        return self.rate * warm * min(1.0, (self.steps - step) / max(1.0, self.cooldown * self.steps))


STAGES = (
    Stage("tower", steps=1300, rate=2e-3, cooldown=0.14),
    Stage("single", steps=300, rate=2e-3, cooldown=0.0),
    Stage("many", steps=6000, rate=2e-3, cooldown=0.35),
)
TOWER_BATCH = 128
POSITION_STD = 0.6
VISUALS_A_BATCH = 96  # a batch of conversations holds about so many visuals, whatever their number in each
LOG_EVERY = 50  # steps
MOTION_SLACK = 1e-6  # of the image's side, across the direction of a straight motion
FULL_ROWS = 0.15  # the share of the batches whose rows hold every patch, background too


class Batches(IterableDataset):
    """The batches of a stage from a step on; each follows from stage and step alone."""

    def __init__(self, stage: Stage, start: int, tokeniser: PreTrainedTokenizerFast) -> None:
        self.stage, self.start, self.tokeniser = stage, start, tokeniser

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        torch.set_num_threads(1)
        for step in range(self.start, self.stage.steps):
            rng = random.Random(f"{self.stage.name}-{step}")
            if self.stage.name == "tower":
                yield tower_batch(rng)
            else:
                yield conversation_batch(rng, self.tokeniser, self.stage.name == "single")


def pixels(pictures: list[np.ndarray]) -> torch.Tensor:
    """uint8 pictures [S, S, 3] as uint8 [n, 3, S, S]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def tower_batch(rng: random.Random) -> dict[str, torch.Tensor]:
    drawn = [scenes.compose(rng, questions.some_kinds(rng, 5)) for _ in range(TOWER_BATCH)]
    labels = np.stack([scene.patch_labels(architecture.GRID) for scene in drawn])
    places = np.broadcast_to(np.stack(np.divmod(np.arange(PATCHES), architecture.GRID), -1), (*labels.shape[:2], 2))
    labels = np.concatenate([labels, places], -1)
    return {"pixels": pixels([s.draw(architecture.IMAGE_SIZE) for s in drawn]), "labels": torch.from_numpy(labels)}


def conversation(rng: random.Random, visuals: int, turns: int) -> questions.Conversation:
    """A random conversation of any family about so many visuals."""
    if visuals == 1:
        families = [lambda: questions.single_image(rng, turns)]
    elif visuals == 2:
        families = [lambda: questions.difference(rng, turns)] * 4
    else:
        families = []
    if visuals > 1:
        families += [lambda: questions.video(rng, visuals, turns)]
    if 1 < visuals <= questions.MAX_IMAGES:
        families += [lambda: questions.images(rng, visuals, turns)] * 2
    if 1 < visuals <= len(questions.CAMERAS):
        families += [lambda: questions.cameras(rng, visuals, turns)] * 2
    talk = rng.choice(families)()
    return questions.greeted(talk) if rng.random() < 0.02 else talk


def conversation_batch(rng: random.Random, tokeniser: PreTrainedTokenizerFast, single: bool) -> dict[str, torch.Tensor]:
    """Conversations about equally many visuals.

    In most batches most background patches are left out of the language model's rows, which keep their positions: they
    are two thirds of the rows and say nothing.
    """
    visuals = 1 if single else rng.choices((1, 2, 3, 4, 5, 6, 8, 12, 16), (1, 4, 1.5, 2.5, 1.5, 2.5, 3, 0.4, 0.4))[0]
    turns = rng.randint(1, 4) if visuals < 8 else rng.randint(2, 5)
    talks = [conversation(rng, visuals, turns) for _ in range(max(4, VISUALS_A_BATCH // max(visuals, 2)))]
    drawn = [scene for talk in talks for scene in talk.scenes]
    background_kept = rng.choice((1.0,) if rng.random() < FULL_ROWS else (0.0, 0.1, 0.2))
    labels = np.stack([scene.patch_labels(architecture.GRID) for scene in drawn])
    kept = labels[..., 0] > 0
    kept |= np.random.default_rng(rng.getrandbits(32)).random(kept.shape) < background_kept
    rows = [prompts.training_row(talk, tokeniser, rng) for talk in talks]
    image = tokeniser.convert_tokens_to_ids("<image>")
    keeps = iter(kept.reshape(len(talks), -1))
    tokens, targets, positions = [], [], []
    for row in rows:
        whole = torch.tensor(row.tokens)
        is_image = whole == image
        stays = ~is_image
        stays[is_image] = torch.from_numpy(next(keeps))
        tokens.append(whole[stays])
        targets.append(torch.where(torch.tensor(row.learned), whole, -100)[stays])
        positions.append(stays.nonzero()[:, 0])
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "pixels": pixels([scene.draw(architecture.IMAGE_SIZE) for scene in drawn]),
        "kept": torch.from_numpy(kept),
        "tokens": pad(tokens, True, tokeniser.pad_token_id),
        "targets": pad(targets, True, -100),
        "positions": pad(positions, True),
        "labels": torch.from_numpy(row_labels(talks, labels, visuals)[kept]),
    }


def row_labels(talks: list[questions.Conversation], labels: np.ndarray, visuals: int) -> np.ndarray:
    """ROW_LABELS and PAIR_LABELS of every patch: int64 [talks * visuals, patches, 6]."""
    kinds = np.where(labels[..., 0] > 0, (labels[..., 1] - 1) * len(scenes.SHAPES) + labels[..., 0], 0)
    in_talks = kinds.reshape(len(talks), visuals, PATCHES)
    before = np.roll(in_talks, 1, axis=1)
    before[:, 0] = PAIR_LABELS["before"] - 1  # nothing came before
    ordinals = np.broadcast_to(np.arange(visuals)[None, :, None], before.shape)
    moves = np.array([[0, *map(movement, talk.scenes, talk.scenes[1:])] for talk in talks])
    motion = np.where(in_talks > 0, moves[..., None], 0)
    names = np.array([[1 + questions.CAMERAS.index(name) for name in talk.names] or [0] * visuals for talk in talks])
    cameras = np.broadcast_to(names[..., None], before.shape)
    columns = (ordinals, in_talks, labels[..., 2].reshape(before.shape), before, motion, cameras)
    return np.stack(columns, -1).reshape(len(talks) * visuals, PATCHES, len(columns))


def movement(before: scenes.Scene, after: scenes.Scene) -> int:
    """Which way the one thing of two scenes moves, from 1, as DIRECTIONS lists them; 0 if it is none of these."""
    if len(before.things) != 1 or len(after.things) != 1 or before.kinds != after.kinds:
        return 0
    dx, dy = after.things[0].x - before.things[0].x, after.things[0].y - before.things[0].y
    ways = [(dx * right + dy * down) for right, down in scenes.DIRECTIONS.values()]
    return 1 + int(np.argmax(ways)) if max(ways) > 0 and min(abs(dx), abs(dy)) < MOTION_SLACK else 0


class Trainee(torch.nn.Module):
    """The model and its throw-away heads."""

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        width = model.config.vision_config.hidden_size
        self.patch_head = torch.nn.Linear(width, sum(PATCH_LABELS.values()))
        width = model.config.text_config.hidden_size
        self.row_head = torch.nn.Linear(width, sum(ROW_LABELS.values()))
        self.pair_head = torch.nn.Linear(width, sum(PAIR_LABELS.values()))

    def tower(self, pictures: torch.Tensor) -> torch.Tensor:
        """The hidden state before post_layernorm, float32 [n, patches, hidden], of uint8 pictures [n, 3, S, S]."""
        tower = self.model.model.vision_tower
        hidden = tower.embeddings(pictures.float() / 127.5 - 1.0)
        return tower.encoder(inputs_embeds=hidden).last_hidden_state

    def tower_loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        logits = self.patch_head(self.tower(batch["pixels"]))
        labels = batch["labels"]
        weight = 1.0 + 3.0 * (labels[..., 0] > 0).float().flatten()
        marked = labels[..., 2] > 0
        loss, figures = torch.zeros(()), {}
        parts = logits.split(tuple(PATCH_LABELS.values()), -1)
        for at, (name, part) in enumerate(zip(PATCH_LABELS, parts, strict=True)):
            losses = functional.cross_entropy(part.flatten(0, 1), labels[..., at].flatten(), reduction="none")
            loss = loss + (losses * weight).mean()
            figures[name] = (part.argmax(-1) == labels[..., at])[marked].float().mean().item()
        return loss, figures

    def answer_loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        model, inner = self.model, self.model.model
        with torch.no_grad():
            features = self.tower(batch["pixels"])
        rows = inner.multi_modal_projector(features[batch["kept"]])
        tokens = batch["tokens"]
        is_image = tokens == model.config.image_token_index
        embeddings = inner.language_model.embed_tokens(tokens)
        embeddings = embeddings.masked_scatter(is_image[..., None], rows)
        out = inner.language_model(
            inputs_embeds=embeddings,
            position_ids=batch["positions"],
            # Without a mask, transformers takes gaps in the positions for the borders of packed sequences.
            attention_mask=torch.ones_like(tokens),
            output_hidden_states=True,
            use_cache=False,
        )
        targets = batch["targets"][:, 1:]
        learned = targets >= 0
        logits = model.lm_head(out.last_hidden_state[:, :-1][learned])
        answer = functional.cross_entropy(logits, targets[learned])
        right = (logits.argmax(-1) == targets[learned]).float().mean().item()
        known: dict[str, torch.Tensor] = {}
        for head, layer, names in (
            (self.row_head, ROW_LAYER, ROW_LABELS),
            (self.pair_head, PAIR_LAYER, PAIR_LABELS),
        ):
            logits = head(functional.rms_norm(out.hidden_states[layer][is_image], (rows.shape[-1],)))
            for name, part in zip(names, logits.split(tuple(names.values()), -1), strict=True):
                known[name] = functional.cross_entropy(part, batch["labels"][:, len(known)])
        loss = answer + 0.2 * torch.stack(list(known.values())).sum()
        return loss, {"answer": answer.item(), "right": right} | {name: part.item() for name, part in known.items()}

    @torch.no_grad()
    def centre_projector(self, pictures: torch.Tensor) -> None:
        """Starts the projector on features of mean 0 and deviation 1, by folding both into its first layer."""
        features = self.tower(pictures).flatten(0, 1)
        first = self.model.model.multi_modal_projector.linear_1
        first.weight.normal_(0.0, first.in_features**-0.5).div_(features.std(0))
        first.bias.copy_(-first.weight @ features.mean(0))
        self.model.model.multi_modal_projector.linear_2.weight.normal_(0.0, first.out_features**-0.5)


def optimisers(trainee: Trainee, stage: Stage) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the rest; in the tower's stage the tower alone is trained."""
    model = trainee.model.model
    parts = [model.vision_tower, trainee.patch_head]
    if stage.name != "tower":
        parts = [model.multi_modal_projector, model.language_model, trainee.row_head, trainee.pair_head]
    named = [(name, parameter) for part in parts for name, parameter in part.named_parameters()]
    hidden = [p for name, p in named if p.ndim == 2 and "layers" in name]
    others = [p for name, p in named if not (p.ndim == 2 and "layers" in name)]
    return [Muon(hidden, stage.rate), torch.optim.AdamW(others, stage.rate, betas=(0.9, 0.98), weight_decay=0.01)]


class Progress:
    """The state of a run, on disk: what is trained, where it stands, and its log."""

    def __init__(self, work: Path) -> None:
        self._state = work / "state.pt"
        self._log = work / "log.jsonl"
        self._means: dict[str, list[float]] = {}

    @property
    def stage(self) -> str:
        """The stage that was last worked on."""
        return (
            str(json.loads(self._log.read_text().splitlines()[-1])["stage"]) if self._log.exists() else STAGES[0].name
        )

    def resume(self, stage: Stage, trainee: Trainee, steppers: list[torch.optim.Optimizer]) -> int:
        """Loads the saved state, and returns the step that the stage goes on from."""
        if not self._state.exists():
            return 0
        state = torch.load(self._state, weights_only=True)
        trainee.load_state_dict(state["trainee"])
        if state["stage"] != stage.name:
            return 0
        for stepper, saved in zip(steppers, state["optimisers"], strict=True):
            stepper.load_state_dict(saved)
        return int(state["step"])

    def save(self, stage: Stage, step: int, trainee: Trainee, steppers: list[torch.optim.Optimizer]) -> None:
        """Saves the state after `step` steps, atomically."""
        state = {"stage": stage.name, "step": step, "trainee": trainee.state_dict()}
        new = self._state.with_suffix(".new")
        torch.save(state | {"optimisers": [stepper.state_dict() for stepper in steppers]}, new)
        new.replace(self._state)

    def log(self, stage: Stage, step: int, figures: dict[str, float]) -> None:
        """Writes the means of the figures every LOG_EVERY steps."""
        for name, value in figures.items():
            self._means.setdefault(name, []).append(value)
        if step % LOG_EVERY == 0:
            line = {"stage": stage.name, "step": step, "time": round(time.time())}
            line |= {name: round(sum(values) / len(values), 4) for name, values in self._means.items()}
            with self._log.open("a") as file:
                print(json.dumps(line), file=file)
            self._means = {}


def run(
    stage: Stage, trainee: Trainee, tokeniser: PreTrainedTokenizerFast, progress: Progress, save_every: float
) -> None:
    """Trains one stage from where its saved state stands to its end."""
    steppers = optimisers(trainee, stage)
    start = progress.resume(stage, trainee, steppers)
    if stage.name == "single" and start == 0:
        trainee.centre_projector(tower_batch(random.Random(0))["pixels"])
    loss_of = trainee.tower_loss if stage.name == "tower" else trainee.answer_loss
    trained = [parameter for stepper in steppers for group in stepper.param_groups for parameter in group["params"]]
    loader = DataLoader(Batches(stage, start, tokeniser), batch_size=None, num_workers=1, prefetch_factor=8)
    saved_at = time.monotonic()
    for step, batch in enumerate(loader, start):
        for stepper in steppers:
            stepper.zero_grad()
            for group in stepper.param_groups:
                group["lr"] = stage.rate_at(step)
        loss, figures = loss_of(batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        if not math.isfinite(norm):
            raise FloatingPointError(f"stage {stage.name}, step {step}: the gradient is {norm}")
        for stepper in steppers:
            stepper.step()
        progress.log(stage, step + 1, figures | {"loss": loss.item()})
        if step + 1 == stage.steps or time.monotonic() - saved_at > save_every:
            progress.save(stage, step + 1, trainee, steppers)
            saved_at = time.monotonic()


def new_trainee(tokeniser: PreTrainedTokenizerFast) -> Trainee:
    torch.manual_seed(0)
    image, end = (tokeniser.convert_tokens_to_ids(token) for token in ("<image>", "<|im_end|>"))
    config = architecture.config(len(tokeniser), image, end, tokeniser.pad_token_id)
    model = LlavaForConditionalGeneration(config)
    # Where a patch stands must survive next to what it shows, or nothing can be said of motion.
    torch.nn.init.normal_(model.model.vision_tower.embeddings.position_embedding.weight, std=POSITION_STD)
    return Trainee(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder of the state and the log")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=float, default=120.0, metavar="SECONDS")
    parser.add_argument("--stop-after", choices=[stage.name for stage in STAGES])
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    tokeniser = tokenizer.of(arguments.work)
    trainee, progress = new_trainee(tokeniser), Progress(arguments.work)
    names = [stage.name for stage in STAGES]
    for stage in STAGES[names.index(progress.stage) :]:
        run(stage, trainee, tokeniser, progress, arguments.save_every)
        if stage.name == arguments.stop_after:
            break


if __name__ == "__main__":
    main()
