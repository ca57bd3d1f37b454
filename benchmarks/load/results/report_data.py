"""The report of a measurement: one typed, versioned document, of which every reader takes attributes.

Its JSON has the fields' names as keys; `Report.model_json_schema()` describes it. Times are in seconds, rates a second.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, TypeAdapter, ValidationError, WrapSerializer

from llava_interleave_serve.benchmarks.load.client.server_info import ServerFacts
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.results import aggregate, checks
from llava_interleave_serve.benchmarks.load.results.aggregate import (
    ClassNumbers,
    ClassTarget,
    ClientHealth,
    GroupNumbers,
)
from llava_interleave_serve.benchmarks.load.results.checks import KnownAnswers, Verification
from llava_interleave_serve.benchmarks.load.results.rate_search import SearchResult
from llava_interleave_serve.benchmarks.load.results.report_model import ReportModel
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics
from llava_interleave_serve.benchmarks.load.workload.schema import Workload

VERSION: Literal[2] = 2
DISTRIBUTION = "llava-interleave-serve"


class NotAReport(ValueError):
    """A file that is no report of this version."""


class Environment(ReportModel):
    """The machine and the software of the load generator."""

    version: str | None
    """Version of this tool; None if it runs without being installed."""
    python: str
    """Version of Python."""
    platform: str
    """Operating system and architecture."""
    cpus: int | None
    """Number of logical CPUs."""


class Server(ReportModel):
    """The server that was measured."""

    url: str
    model: str
    dialect: str
    """Request format: `ours` or `openai`."""
    tokens_per_visual: int | None
    """Tokens of an image or frame that is not pooled, if known."""


class ClassSummary(ReportModel):
    """A request class of the workload."""

    name: str
    kind: str
    """Media of its requests: text, images, video, frames or views."""
    weight: float
    """Its weight in the draw of an arrival's class."""
    target: ClassTarget | None
    """None if the class has no limits."""


class WorkloadSummary(ReportModel):
    """The workload that was sent."""

    name: str
    description: str
    seed: int
    """Seed of media, text and arrivals."""
    classes: tuple[ClassSummary, ...]


class Arrivals(ReportModel):
    """The arrival process. A parameter that the process does not have is None."""

    process: str
    """poisson, gamma, constant, ramp, trace or closed."""
    duration: float | None = None
    """Seconds in which requests arrive."""
    requests: int | None = None
    """Most arrivals."""
    concurrency: int | None = None
    """Conversations at a time, of closed."""
    trace: str | None = None
    """File of a trace."""
    rate: float | None = None
    """Arrivals a second, at the start of a ramp."""
    cv: float | None = None
    """Coefficient of variation of the gaps between arrivals, of gamma."""
    rate_to: float | None = None
    """Arrivals a second at the end of a ramp."""


def _without_empty(request: RequestMetrics, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
    values = serialize(request)
    return {name: value for name, value in values.items() if value is not None and value not in ("", [], {})}


class Report(ReportModel):
    """A measurement.

    After a search, everything but `search` is of the run at its `best_rate`.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    version: Literal[2] = Field(default=VERSION, alias="schema")
    """Version of this document."""
    when: str
    """Time of the measurement's end in UTC, ISO 8601."""
    environment: Environment | None
    """The load generator's environment; None if not known."""
    server: Server
    workload: WorkloadSummary
    arrivals: Arrivals
    client: ClientHealth
    notes: tuple[str, ...]
    """Sentences about what was sent otherwise than the workload means, was left out, or is estimated."""
    window: float
    """Seconds from when the first request that counts was due to the end of the last answer."""
    left_out: dict[str, int]
    """Requests that count in no aggregate, by reason."""
    all: GroupNumbers
    """Aggregates over all requests that count."""
    classes: dict[str, ClassNumbers]
    """The same by request class; classes without requests are left out."""
    verification: Verification | None
    """None if no request was sent alone before."""
    known_answers: KnownAnswers | None
    """None if the workload asks nothing whose answer is known."""
    search: SearchResult | None
    """None without a search for the highest rate."""
    requests: tuple[Annotated[RequestMetrics, WrapSerializer(_without_empty)], ...]
    """Metrics of each request that was sent; empty ones are left out."""

    def groups(self) -> dict[str, GroupNumbers]:
        """The aggregates by class, and as `all` those of all requests if there are several classes."""
        return self.classes | ({"all": self.all} if len(self.classes) > 1 else {})


@dataclass
class RunResult:
    """One run of the load, before aggregation."""

    requests: list[RequestMetrics]
    """Metrics of each request that was sent."""
    loop_delays: list[float]
    """Delays with which the event loop of the load generator woke, in seconds."""
    changes: Counter[str] = field(default_factory=Counter)
    """Requests or parts that were sent otherwise than the workload means, counted by description."""
    notes: list[str] = field(default_factory=list)
    """More sentences for the report."""
    alone: dict[int, str] = field(default_factory=dict)
    """Answers of the requests that were sent alone before, by number."""


def build(
    options: Options, workload: Workload, server: ServerFacts, run: RunResult, search: SearchResult | None
) -> Report:
    """Builds the report of a run, or of a search and the run at its best rate."""
    numbers = aggregate.aggregate_run(run.requests, workload)
    requests = TypeAdapter(list[RequestMetrics]).validate_python(
        [dataclasses.asdict(request) for request in run.requests]
    )
    return Report(
        when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        environment=current_environment(),
        server=Server(url=options.url, **dataclasses.asdict(server)),
        workload=_summary(workload, options),
        arrivals=Arrivals.model_validate(options.described),
        client=aggregate.client_health(run.requests, run.loop_delays),
        notes=(*(f"{count} x {change}" for change, count in run.changes.items()), *run.notes),
        **dict(numbers),
        verification=checks.verification(run.requests, run.alone) if options.verify else None,
        known_answers=checks.known_answers(run.requests),
        search=search,
        requests=tuple(requests),
    )


def current_environment() -> Environment:
    """The environment of this process."""
    try:
        version = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        version = None
    return Environment(
        version=version, python=platform.python_version(), platform=platform.platform(), cpus=os.cpu_count()
    )


def _summary(workload: Workload, options: Options) -> WorkloadSummary:
    classes = tuple(
        ClassSummary(name=kind.name, kind=kind.kind, weight=kind.weight, target=aggregate.class_target(kind.target))
        for kind in workload.classes
    )
    seed = workload.seed if options.seed is None else options.seed
    return WorkloadSummary(name=workload.name, description=workload.description, seed=seed, classes=classes)


def read(file: Path) -> Report:
    """Reads a report written before. Raises NotAReport."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise NotAReport(f"{file}: {error}") from None
    version = content.get("schema") if isinstance(content, dict) else None
    if version != VERSION:
        if isinstance(version, int):
            raise NotAReport(f"{file} is a report of version {version}; this tool reads version {VERSION} alone")
        raise NotAReport(f"{file} is no report of this tool (schema {VERSION})")
    try:
        return Report.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"]))
        raise NotAReport(f"{file} is no report of this tool: {path}: {first['msg']}") from None
