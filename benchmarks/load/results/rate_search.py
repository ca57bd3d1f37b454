"""Search for the highest rate at which every class keeps its target: bracketed by doubling, then bisected."""

from collections.abc import Awaitable, Callable

from llava_interleave_serve.benchmarks.load.results.aggregate import Numbers, RunNumbers, Spread
from llava_interleave_serve.benchmarks.load.results.report_model import ReportModel
from llava_interleave_serve.benchmarks.load.workload.schema import Workload


class ClassAtRate(ReportModel):
    """Aggregates of a request class in one run of a search."""

    good_share: float | None
    """Share of the requests that were answered within the class's target."""
    met: bool
    """True if the class kept its target."""
    requests: int
    """Requests that count."""
    ttft: Spread | None
    """Time to first token."""


class SearchPoint(Numbers):
    """Aggregates of one run of a search."""

    rate: float
    """Arrivals a second."""
    met: bool
    """True if every class kept its target, and at least one request of each class with a target counts."""
    seconds: float
    """The run's window."""
    classes: dict[str, ClassAtRate]
    """Aggregates by request class."""


class SearchResult(ReportModel):
    """The bracket of the highest rate within every target, and the runs that led to it."""

    low: float | None
    """Highest rate that was within every target; None if no run was."""
    high: float | None
    """Lowest rate that was not within every target; None if every run was."""
    precision: float
    """Width of the bracket, as a share of its upper end, at which the search ends."""
    points: tuple[SearchPoint, ...]
    """The runs, in the order measured."""

    @property
    def best_rate(self) -> float:
        """The rate of the run to report: `low`, or the last one tried if no run was within every target."""
        return self.points[-1].rate if self.low is None else self.low


def summarize(rate: float, numbers: RunNumbers, workload: Workload) -> SearchPoint:
    """Reduces the aggregates of a run to those that the report keeps of each run of a search.

    A class with a target of which no request counts has not kept it.
    """
    measured = all(kind.name in numbers.classes for kind in workload.classes if kind.target.limits)
    classes = {
        name: ClassAtRate(
            good_share=of_class.good_share, met=of_class.met, requests=of_class.requests, ttft=of_class.ttft
        )
        for name, of_class in numbers.classes.items()
    }
    return SearchPoint(
        **{name: getattr(numbers.all, name) for name in Numbers.model_fields},
        rate=rate,
        met=measured and all(of_class.met for of_class in classes.values()),
        seconds=numbers.window,
        classes=classes,
    )


async def search(
    measure: Callable[[float], Awaitable[SearchPoint]], start: float, precision: float, most_points: int
) -> SearchResult:
    """Measures at `start`, doubles (or halves) until targets are missed (or kept), then bisects.

    Ends when the bracket is narrower than `precision` of its upper end, or after `most_points` runs.
    """
    points: list[SearchPoint] = []
    low: float | None = None
    high: float | None = None
    rate = start
    while len(points) < most_points:
        point = await measure(rate)
        points.append(point)
        if point.met:
            low = rate
        else:
            high = rate
        if high is None:
            rate *= 2
        elif low is None:
            rate /= 2
        elif high - low <= precision * high:
            break
        else:
            rate = (low + high) / 2
    return SearchResult(low=low, high=high, precision=precision, points=tuple(points))
