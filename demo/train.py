"""Trains the demo checkpoint from nothing: `python -m llava_interleave_serve.demo.train WORK`.

First the tower, with a throw-away head that names shape, colour and centre of every patch; then, the tower frozen as in
the published models, projector and language model: single images, then everything. Stops and resumes at any time: the
state is saved in WORK, and every batch follows from its stage and step.
"""

import argparse
import json
import math
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from llava_interleave_serve.demo import architecture, tokenizer
from llava_interleave_serve.demo.batches import (
    FAMILIES,
    MIXTURE,
    PAIR_LABELS,
    PATCH_LABELS,
    ROW_LABELS,
    SINGLE,
    conversation_batch,
    tower_batch,
)
from llava_interleave_serve.demo.muon import Muon
from llava_interleave_serve.demo.questions import TOPICS

CHECKPOINT = Path(__file__).parent / "checkpoint"
ROW_LAYER = 2  # of the language model: after how many layers the rows know ROW_LABELS
PAIR_LAYER = 3  # and PAIR_LABELS, and the answers what they are about
LOOKING, TALLYING = slice(0, 2), slice(2, 4)  # heads of the layer after PAIR_LAYER
POSITION_STD = 0.6
LOG_EVERY = 50  # steps


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
    Stage("many", steps=2830, rate=1.2e-3, cooldown=0.9),
)


class Batches(IterableDataset):
    """The batches of a stage's steps from one on; they follow from stage and step alone."""

    def __init__(self, stage: Stage, start: int, tokeniser: PreTrainedTokenizerFast) -> None:
        self.stage, self.start, self.tokeniser = stage, start, tokeniser

    def __iter__(self) -> Iterator[list[dict[str, torch.Tensor]]]:
        torch.set_num_threads(1)
        for step in range(self.start, self.stage.steps):
            rng = random.Random(f"{self.stage.name}-{step}")
            if self.stage.name == "tower":
                yield [tower_batch(rng)]
            else:
                kinds = SINGLE if self.stage.name == "single" else MIXTURE
                yield [conversation_batch(rng, self.tokeniser, kind) for kind in kinds]


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
        self.topic_head = torch.nn.Linear(width, len(TOPICS))

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
        """Next-token loss on the answers, and that of the heads.

        An answer is right if each of its tokens is the likeliest after the right ones before it.
        """
        model, inner = self.model, self.model.model
        with torch.no_grad():
            features = self.tower(batch["pixels"])
        rows = inner.multi_modal_projector(features[batch["kept"]]).float()
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
            output_attentions=True,
            use_cache=False,
        )
        learned = batch["answers"][:, 1:] >= 0
        logits = model.lm_head(out.last_hidden_state[:, :-1][learned])
        targets, answers = tokens[:, 1:][learned], batch["answers"][:, 1:][learned]
        answer = functional.cross_entropy(logits, targets)
        right = torch.ones(len(batch["families"]))
        right[answers[logits.argmax(-1) != targets]] = 0.0
        known: dict[str, torch.Tensor] = {}
        for head, layer, names in (
            (self.row_head, ROW_LAYER, ROW_LABELS),
            (self.pair_head, PAIR_LAYER, PAIR_LABELS),
        ):
            logits = head(functional.rms_norm(out.hidden_states[layer][is_image], (rows.shape[-1],)))
            for name, part in zip(names, logits.split(tuple(names.values()), -1), strict=True):
                known[name] = functional.cross_entropy(part, batch["labels"][:, len(known)])
        asking = self.topic_head(functional.rms_norm(out.hidden_states[PAIR_LAYER][:, :-1][learned], (rows.shape[-1],)))
        known["topic"] = functional.cross_entropy(asking, batch["topics"][answers])
        known |= self.attention_losses(out.attentions[PAIR_LAYER][:, :, :-1].transpose(1, 2)[learned], answers, batch)
        loss = answer + 0.2 * torch.stack(list(known.values())).sum()
        figures = {"answer": answer.item()} | {name: part.item() for name, part in known.items()}
        for family in batch["families"].unique():
            figures[f"right_{FAMILIES[family]}"] = right[batch["families"] == family].mean().item()
        return loss, figures

    def attention_losses(
        self, attention: torch.Tensor, answers: torch.Tensor, batch: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """What two pairs of heads of the layer after PAIR_LAYER are taught, of attention [n, heads, tokens].

        The first look at the patches that tell the answer. The second, where something is counted, look at the first
        token and at all that is counted, alike: of n things, the first token's share is 1 / (n + 1).
        """
        told = batch["looks"][answers][:, None]
        found = (attention[:, LOOKING] * told).sum(-1)[told.any(-1)[:, 0]]
        is_count = batch["families"][answers] == FAMILIES.index("count")
        tally = batch["tallies"][answers][is_count].float()
        tally[:, 0] = 1.0
        shares = (attention[is_count][:, TALLYING] + 1e-6).log() * (tally / tally.sum(-1, keepdim=True))[:, None]
        return {
            "looks": -(found + 1e-6).log().mean() if found.numel() else torch.zeros(()),
            "tally": -shares.sum(-1).mean() if shares.numel() else torch.zeros(()),
        }

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

    def note(self, figures: dict[str, float]) -> None:
        """Keeps the figures of a batch for the log."""
        for name, value in figures.items():
            self._means.setdefault(name, []).append(value)

    def log(self, stage: Stage, step: int) -> None:
        """Writes the means of the figures every LOG_EVERY steps."""
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
    for step, batches in enumerate(loader, start):
        for stepper in steppers:
            stepper.zero_grad()
            for group in stepper.param_groups:
                group["lr"] = stage.rate_at(step)
        for batch in batches:
            loss, figures = loss_of(batch)
            (loss / len(batches)).backward()
            progress.note(figures | {"loss": loss.item()})
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        if not math.isfinite(norm):
            raise FloatingPointError(f"stage {stage.name}, step {step}: the gradient is {norm}")
        for stepper in steppers:
            stepper.step()
        progress.log(stage, step + 1)
        if step + 1 == stage.steps or time.monotonic() - saved_at > save_every:
            progress.save(stage, step + 1, trainee, steppers)
            saved_at = time.monotonic()


def new_trainee(tokeniser: PreTrainedTokenizerFast) -> Trainee:
    torch.manual_seed(0)
    image, end = (tokeniser.convert_tokens_to_ids(token) for token in ("<image>", "<|im_end|>"))
    config = architecture.config(len(tokeniser), image, end, tokeniser.pad_token_id)
    config._attn_implementation = "eager"  # the others do not tell their attention
    model = LlavaForConditionalGeneration(config)
    # Where a patch stands must survive next to what it shows, or nothing can be said of motion.
    torch.nn.init.normal_(model.model.vision_tower.embeddings.position_embedding.weight, std=POSITION_STD)
    return Trainee(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder of the state and the log")
    parser.add_argument(
        "--start", type=Path, help="a checkpoint whose weights and tokeniser the last stage begins with"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=float, default=120.0, metavar="SECONDS")
    parser.add_argument("--stop-after", choices=[stage.name for stage in STAGES])
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    if arguments.start and not (arguments.work / "tokenizer.json").exists():
        shutil.copy(arguments.start / "tokenizer.json", arguments.work)
        shutil.copy(arguments.start / "tokenizer_config.json", arguments.work)
    tokeniser = tokenizer.of(arguments.work)
    trainee, progress = new_trainee(tokeniser), Progress(arguments.work)
    first = [stage.name for stage in STAGES].index(progress.stage)
    if arguments.start:
        first = len(STAGES) - 1
        trained = LlavaForConditionalGeneration.from_pretrained(arguments.start, dtype=torch.float32)
        trainee.model.load_state_dict(trained.state_dict())
    for stage in STAGES[first:]:
        run(stage, trainee, tokeniser, progress, arguments.save_every)
        if stage.name == arguments.stop_after:
            break


if __name__ == "__main__":
    main()
