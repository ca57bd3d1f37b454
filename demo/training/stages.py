"""The stages of the training, in their order."""

from dataclasses import dataclass


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
    Stage("letters", steps=600, rate=1e-3, cooldown=0.7),
    Stage("further", steps=1500, rate=1.2e-3, cooldown=0.8),
)
STAGE_NAMES = [stage.name for stage in STAGES]
FROM_CHECKPOINT = STAGE_NAMES.index("letters")  # the first stage that a checkpoint can begin
TOWER_STAGES = ("tower", "letters")
PLAIN = {"tower": 1.0, "letters": 0.4}  # the share of pictures that show no more than the first stage's
HOLD = 2.0  # the weight of how far, in variances, the tower's features may move for these
