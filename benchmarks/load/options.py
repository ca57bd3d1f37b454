"""The configuration of a measurement, built from the command line. It refuses contradictions itself."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

OPEN_PROCESSES = ("poisson", "gamma", "constant", "ramp", "trace")
PROCESSES = (*OPEN_PROCESSES, "closed")
STEADY_PROCESSES = ("poisson", "gamma", "constant")  # of one rate, without an end of their own
# Requests that show the same media have one id, or each has its own, or none has one.
SESSION_IDS = ("shared", "own", "none")
# The arrival processes that read an option; those that are not here read all.
USED_BY = {
    "rate": ("poisson", "gamma", "constant", "ramp"),
    "rate_to": ("ramp",),
    "cv": ("gamma",),
    "concurrency": ("closed",),
    "trace": ("trace",),
}
USED_BY_SEARCH = ("precision", "most_points")


@dataclass(frozen=True, slots=True)
class Options:
    """Times are in seconds, rates in arrivals a second. Raises ValueError for options that contradict each other."""

    url: str
    """The server, with or without /v1."""
    workload: str
    """Name of a preset, or path of a workload file."""
    arrivals: str = "poisson"
    """One of PROCESSES."""
    rate: float = 1.0
    """Arrivals a second; where a ramp and a search begin."""
    rate_to: float | None = None
    """The rate at which a ramp ends, after `duration`."""
    cv: float = 2.0
    """Of gamma arrivals: standard deviation of the gaps over their mean."""
    concurrency: int = 8
    """Of a closed loop: conversations at a time."""
    trace: Path | None = None
    """File of recorded arrivals."""
    duration: float | None = None
    """The time within which requests arrive."""
    requests: int | None = None
    """Most arrivals."""
    warmup: float = 0.0
    """Requests due before are not counted."""
    warmup_requests: int = 0
    """So many requests, the first, are not counted."""
    drain: float = 120.0
    """The wait for responses after the last request was sent."""
    timeout: float = 600.0
    """Of one request as a whole."""
    seed: int | None = None
    """Of media, text and arrivals; the workload's if None."""
    model: str | None = None
    """Model to ask for; the server's first if None."""
    api_key: str | None = None
    dialect: str = "auto"
    """Request format: `ours`, `openai`, or `auto`, what the server says of itself."""
    session_id: str = "shared"
    """X-Session-ID, by which routers choose a replica: one of SESSION_IDS."""
    skip_unsupported: bool = False
    """Leave out requests that the dialect cannot express, instead of changing them."""
    tokens_per_visual: int | None = None
    """For an estimate of visual tokens where the server does not count them."""
    verify: int = 0
    """Requests to send alone before the run, for their answers to be compared."""
    search: bool = False
    """Look for the highest rate within every target, in several runs like this one."""
    precision: float = 0.1
    """Of a search: width of the bracket at which it ends, as a share of its upper end."""
    most_points: int = 12
    """Of a search: most runs."""
    json: Path | None = None
    """File for everything measured."""
    html: Path | None = None
    """File for the report."""
    given: frozenset[str] = frozenset()
    """Names of the fields that the user set, be it to the default."""

    def __post_init__(self) -> None:
        self._refuse_unused()
        self._refuse_incomplete()

    def _refuse_unused(self) -> None:
        changed = {field.name for field in dataclasses.fields(self) if getattr(self, field.name) != field.default}
        for name in sorted(self.given | changed):
            option = f"--{name.replace('_', '-')}"
            processes = USED_BY.get(name, PROCESSES)
            if self.arrivals not in processes:
                raise ValueError(f"{option} is for --arrivals {' or '.join(processes)}, not {self.arrivals}")
            if name in USED_BY_SEARCH and not self.search:
                raise ValueError(f"{option} is for --search")

    def _refuse_incomplete(self) -> None:
        if self.arrivals == "ramp" and not (self.rate_to and self.duration):
            raise ValueError("a ramp needs --rate-to and --duration")
        if self.arrivals == "trace" and self.trace is None:
            raise ValueError("--arrivals trace needs --trace")
        if self.arrivals == "closed" and self.requests is None:
            raise ValueError("--arrivals closed needs --requests")
        if self.search and self.arrivals not in STEADY_PROCESSES:
            raise ValueError("a search needs --arrivals poisson, gamma or constant")
        if self.duration is not None and self.warmup >= self.duration:
            raise ValueError("--warmup ends after --duration")

    @property
    def arrival_settings(self) -> dict[str, object]:
        """The arrival process and the options that it reads, for the report."""
        settings = {"process": self.arrivals, "duration": self.duration, "requests": self.requests}
        settings |= {name: getattr(self, name) for name, processes in USED_BY.items() if self.arrivals in processes}
        if self.trace is not None:
            settings["trace"] = str(self.trace)
        return {name: value for name, value in settings.items() if value is not None}
