"""The stages of the training, in their order."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage of the training.

    steps: of the optimisers.
    rate: the peak learning rate, of AdamW and of Muon.
    cooldown: the share of the steps, at the end, in which the rate falls to 0.
    """

    name: str
    steps: int
    rate: float
    cooldown: float

    def rate_at(self, step: int) -> float:
        """The learning rate of a step: it rises over 100 steps, and falls linearly in the cooldown."""
        warm = min(1.0, (step + 1) / 100)
        return self.rate * warm * min(1.0, (self.steps - step) / max(1.0, self.cooldown * self.steps))


STAGES = (
    Stage("tower", steps=1300, rate=2e-3, cooldown=0.14),
    Stage("single", steps=300, rate=2e-3, cooldown=0.0),
    Stage("many", steps=2830, rate=1.2e-3, cooldown=0.9),
    Stage("letters", steps=600, rate=1e-3, cooldown=0.7),
    Stage("further", steps=1500, rate=1.2e-3, cooldown=0.8),
)
STAGE_NAMES = [stage.name for stage in STAGES]
FROM_CHECKPOINT = STAGE_NAMES.index("letters")  # the stage that `--start CHECKPOINT` begins with
TOWER_STAGES = ("tower", "letters")
PLAIN_SHARE = {"tower": 1.0, "letters": 0.4}  # of pictures that show nothing but shapes on pale paper
DRIFT_WEIGHT = 2.0  # of the loss that keeps the features of plain pictures, in the stage "letters"
