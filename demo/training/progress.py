"""State and log of a training run, on disk."""

import json
import time
from pathlib import Path

import torch

from llava_interleave_serve.demo.training.stages import Stage
from llava_interleave_serve.demo.training.trainee import Trainee

LOG_EVERY = 50  # steps


class Progress:
    """Saves and loads a run in its folder: the weights, the optimisers, stage and step, and the log."""

    def __init__(self, work: Path) -> None:
        self._state = work / "state.pt"
        self._log = work / "log.jsonl"
        self._means: dict[str, list[float]] = {}

    @property
    def stage(self) -> str | None:
        """The stage of the saved state; None if there is none."""
        return str(torch.load(self._state, weights_only=True)["stage"]) if self._state.exists() else None

    def resume(self, stage: Stage, trainee: Trainee, optimisers: list[torch.optim.Optimizer]) -> int:
        """Loads the saved state, and returns the step to go on with: 0 if the state is of another stage."""
        if not self._state.exists():
            return 0
        state = torch.load(self._state, weights_only=True)
        trainee.load_state_dict(state["trainee"])
        if state["stage"] != stage.name:
            return 0
        for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        return int(state["step"])

    def save(self, stage: Stage, step: int, trainee: Trainee, optimisers: list[torch.optim.Optimizer]) -> None:
        """Saves the state after `step` steps, atomically."""
        state = {"stage": stage.name, "step": step, "trainee": trainee.state_dict()}
        new = self._state.with_suffix(".new")
        torch.save(state | {"optimisers": [optimiser.state_dict() for optimiser in optimisers]}, new)
        new.replace(self._state)

    def note(self, figures: dict[str, float]) -> None:
        """Adds the figures of a batch to the means of the next log line."""
        for name, value in figures.items():
            self._means.setdefault(name, []).append(value)

    def log(self, stage: Stage, step: int) -> None:
        """Every LOG_EVERY steps, writes the means of the figures since the line before."""
        if step % LOG_EVERY == 0:
            line = {"stage": stage.name, "step": step, "time": round(time.time())}
            line |= {name: round(sum(values) / len(values), 4) for name, values in self._means.items()}
            with self._log.open("a") as file:
                print(json.dumps(line), file=file)
            self._means = {}
