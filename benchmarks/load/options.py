"""What a run is told: one frozen configuration, built from the command line."""

from dataclasses import dataclass
from pathlib import Path

OPEN = ("poisson", "gamma", "constant", "ramp", "trace")


@dataclass(frozen=True, slots=True)
class Options:
    """Times in seconds, rates in arrivals a second.

    arrivals: one of OPEN, or `closed`. drain: how long answers are waited for after the last request was sent.
    warmup, warmup_requests: what is due before, or the first so many, counts in no measure. verify: how many requests
    are asked alone before. search: look for the highest rate, in rounds like this one.
    """

    url: str
    workload: str
    arrivals: str = "poisson"
    rate: float = 1.0
    rate_to: float | None = None
    cv: float = 2.0
    concurrency: int = 8
    trace: Path | None = None
    duration: float | None = None
    requests: int | None = None
    warmup: float = 0.0
    warmup_requests: int = 0
    drain: float = 120.0
    timeout: float = 600.0
    seed: int | None = None
    model: str | None = None
    api_key: str | None = None
    dialect: str = "auto"
    skip_unsupported: bool = False
    tokens_per_visual: int | None = None
    verify: int = 0
    search: bool = False
    precision: float = 0.1
    most_points: int = 12
    json: Path | None = None
    html: Path | None = None

    @property
    def described(self) -> dict[str, object]:
        """The arrivals, as the report tells them."""
        told: dict[str, object] = {"process": self.arrivals, "duration": self.duration, "requests": self.requests}
        match self.arrivals:
            case "closed":
                told["concurrency"] = self.concurrency
            case "trace":
                told["trace"] = str(self.trace)
            case _:
                told["rate"] = self.rate
        if self.arrivals == "gamma":
            told["cv"] = self.cv
        if self.arrivals == "ramp":
            told["rate_to"] = self.rate_to
        return {name: value for name, value in told.items() if value is not None}
