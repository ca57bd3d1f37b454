"""The state of a training run, on disk."""

import copy
import json
import time
from pathlib import Path

import torch

from llava_interleave_serve.demo.training.stages import Stage
from llava_interleave_serve.demo.training.trainee import Trainee

LOG_EVERY = 50  # steps


class Progress:
    """The state of a run, on disk: what is trained, where it stands, and its log."""

    def __init__(self, work: Path) -> None:
        self._state = work / "state.pt"
        self._tower = work / "tower-before.pt"
        self._log = work / "log.jsonl"
        self._means: dict[str, list[float]] = {}

    @property
    def stage(self) -> str | None:
        """The stage that was last worked on, if any."""
        return str(torch.load(self._state, weights_only=True)["stage"]) if self._state.exists() else None

    def tower_before(self, start: int, tower: torch.nn.Module) -> torch.nn.Module:
        """The tower as it was when its stage began, which is kept while the stage lasts."""
        if start == 0:
            torch.save(tower.state_dict(), self._tower)
        before = copy.deepcopy(tower)
        before.load_state_dict(torch.load(self._tower, weights_only=True))
        return before

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
