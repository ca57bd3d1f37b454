"""The stages of the training, in their order."""

from dataclasses import dataclass

from llava_interleave_serve.demo.training.batches import ALL_PATCHES_SHARE


@dataclass(frozen=True)
class Stage:
    """One stage of the training.

    steps: of the optimisers.
    rate: the peak learning rate, of AdamW and of Muon.
    cooldown: the share of the steps, at the end, in which the rate falls to 0.
    kinds: of conversations (`batches.KINDS`), as often as they are drawn; without any, the tower is trained.
    batches: of different kinds in each step.
    all_patches_share: of the batches; their rows have every patch, as the server's have.
    """

    name: str
    steps: int
    rate: float
    cooldown: float
    kinds: tuple[str, ...] = ()
    batches: int = 1
    all_patches_share: float = ALL_PATCHES_SHARE

    def rate_at(self, step: int) -> float:
        """The learning rate of a step: it rises over 100 steps, and falls linearly in the cooldown."""
        warm = min(1.0, (step + 1) / 100)
        return self.rate * warm * min(1.0, (self.steps - step) / max(1.0, self.cooldown * self.steps))


STAGES = (
    Stage("tower", steps=5500, rate=2e-3, cooldown=0.45),
    Stage("single", steps=300, rate=2e-3, cooldown=0.0, kinds=("single",) * 4, batches=4),
    Stage(
        "questions",
        steps=2500,
        rate=1.2e-3,
        cooldown=0.7,
        kinds=(
            *("single", "single", "single", "images", "images", "images", "edits", "edits", "pairs", "captions"),
            *("series", "cameras", "cameras", "films", "films", "films", "reading"),
        ),
        batches=6,
    ),
    # The questions that fail where the background is there: counts, and pictures of nothing that has a word.
    Stage(
        "background",
        steps=400,
        rate=6e-4,
        cooldown=0.0,
        kinds=(
            *("single", "single", "single", "images", "images", "images", "images", "edits", "captions"),
            *("series", "cameras", "films", "films", "reading", "pairs"),
        ),
        batches=6,
        all_patches_share=0.4,
    ),
    Stage(
        "counts",
        steps=320,
        rate=4e-4,
        cooldown=0.9,
        kinds=(
            *("single", "single", *("images",) * 8),
            *("edits", "captions", "series", "cameras", "films", "films", "reading", "pairs"),
        ),
        batches=6,
        all_patches_share=0.6,
    ),
)
STAGE_NAMES = [stage.name for stage in STAGES]
# Two short trainings from one start: videos at about as many tokens, in pooled frames or in fewer whole ones.
ABLATION = {
    name: Stage(name, steps=100, rate=6e-4, cooldown=0.6, kinds=(f"{name} films",) * 3, batches=3)
    for name in ("pooled", "unpooled")
}
