"""Aggregates many requests to numbers, and detects an overloaded load generator."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from llava_interleave_serve.benchmarks.load.results.report_model import ReportModel, Seconds
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics
from llava_interleave_serve.benchmarks.load.workload.schema import Target, Workload

Quantile = Literal["p50", "p90", "p99"]

LAG_SECONDS = 0.005  # p99 of the lag that is always allowed
LAG_SHARE = 0.05  # or this share of the median time to first token, if that is more


class Spread(ReportModel):
    """Quantiles, mean and maximum of some times."""

    p50: Seconds
    p90: Seconds
    p99: Seconds
    mean: Seconds
    max: Seconds
    n: int
    """Number of values."""


class Rates(ReportModel):
    """Throughputs, each a second of the window; None if the window is empty."""

    requests: float | None
    """Answered requests."""
    offered: float | None
    """Requests due after the first, a second between the first and the last; None if all were due at once."""
    tokens: float | None
    """Output tokens."""
    prompt_tokens: float | None
    """Prompt tokens."""
    images: float | None
    """Images and camera views."""
    frames: float | None
    """Video frames."""
    visual_tokens: float | None
    """Tokens of images and frames; None if not known."""


class ClassTarget(ReportModel):
    """Service level that a class has to keep. A latency without a limit is None."""

    ttft: float | None = None
    """Limit of the time to first token, in seconds."""
    itl: float | None = None
    """Limit of the longest gap between tokens of a request, in seconds."""
    tpot: float | None = None
    """Limit of the mean time per output token after the first, in seconds."""
    e2e: float | None = None
    """Limit of the time to the end of the answer, in seconds."""
    share: float
    """Share of the class's requests that have to keep every limit."""

    @property
    def limits(self) -> dict[str, float]:
        """The latencies that have a limit, in seconds."""
        limits = {"ttft": self.ttft, "itl": self.itl, "tpot": self.tpot, "e2e": self.e2e}
        return {name: limit for name, limit in limits.items() if limit is not None}


class Numbers(ReportModel):
    """Aggregates of a group of requests. Latencies are those of answered requests; goodput is of all."""

    requests: int
    """Requests that count."""
    answered: int
    """Requests with a whole answer."""
    errors: dict[str, int]
    """Failed requests by error, the most frequent first."""
    good_share: float | None
    """Share of the requests that were answered within their class's target; None without requests."""
    ttft: Spread | None
    """Time to first token."""
    itl: Spread | None
    """Inter-token latency: every gap between events that brought tokens."""
    tpot: Spread | None
    """Mean time per output token after the first, of each request."""
    e2e: Spread | None
    """Time to the end of the answer."""
    rates: Rates

    @property
    def failed(self) -> int:
        """Requests without a whole answer."""
        return self.requests - self.answered


class GroupNumbers(Numbers):
    """All aggregates of a group of requests of one run."""

    retry_after: tuple[str, ...]
    """Values of Retry-After headers, each once."""
    good: int
    """Requests that were answered within their class's target."""
    good_rate: float | None
    """Good requests a second of the window."""
    phases: dict[str, Spread]
    """Time by phase, as the server reports it."""
    repeats: dict[str, Spread]
    """Time to first token by how the media repeat earlier ones: `new`, `exact`, `question`, `order`, `sliding`; `turn`
    for a conversation's further turns.
    """


class ClassNumbers(GroupNumbers):
    """All aggregates of a request class of one run."""

    target: ClassTarget | None
    """None if the class has no limits."""
    met: bool
    """True if the share of good requests reaches the target's."""


class RunNumbers(ReportModel):
    """Aggregates of a run."""

    window: float
    """Seconds from when the first request that counts was due to the end of the last answer."""
    left_out: dict[str, int]
    """Requests that count in no aggregate, by reason."""
    all: GroupNumbers
    """Aggregates over all requests that count."""
    classes: dict[str, ClassNumbers]
    """The same by request class; classes without requests are left out."""


class ClientHealth(ReportModel):
    """Evidence that the load generator kept up. If it did not, latencies measure it and not the server."""

    lag: Spread | None
    """Delay of the load generator in sending requests; their latencies include it."""
    loop: Spread | None
    """Delay with which the event loop of the load generator woke."""
    warning: str
    """A sentence if the load generator fell behind, or empty."""


def spread(values: Iterable[float]) -> Spread | None:
    """Aggregates times in seconds; None if there are none."""
    array = np.fromiter(values, np.float64)
    if not len(array):
        return None
    p50, p90, p99 = np.percentile(array, (50, 90, 99))
    return Spread(p50=p50, p90=p90, p99=p99, mean=array.mean(), max=array.max(), n=len(array))


def class_target(target: Target) -> ClassTarget | None:
    """The target as the report keeps it; None if it has no limits."""
    return ClassTarget(**target.limits, share=target.share) if target.limits else None


def is_good(request: RequestMetrics, target: Target) -> bool:
    """True if the request was answered within every limit of its class's target."""
    measured = {
        "ttft": request.ttft,
        "itl": max(request.gaps, default=0.0),
        "tpot": request.tpot or 0.0,
        "e2e": request.e2e,
    }
    values = {name: measured[name] for name in target.limits}
    return request.ok and all(value is not None and value <= target.limits[name] for name, value in values.items())


def aggregate_run(requests: Sequence[RequestMetrics], workload: Workload) -> RunNumbers:
    """Aggregates the requests of a run that count, all together and by class."""
    counted = [request for request in requests if not request.left_out]
    start = min((request.due for request in counted), default=0.0)
    window = max((request.end for request in counted), default=0.0) - start
    targets = {kind.name: kind.target for kind in workload.classes}
    good = Counter(request.name for request in counted if is_good(request, targets[request.name]))
    classes = {}
    for name, target in targets.items():
        members = [request for request in counted if request.name == name]
        if members:
            numbers = _numbers(members, good[name], window)
            met = good[name] >= target.share * len(members)
            classes[name] = ClassNumbers(**dict(numbers), target=class_target(target), met=met)
    return RunNumbers(
        window=round(window, 3),
        left_out=dict(Counter(request.left_out for request in requests if request.left_out)),
        all=_numbers(counted, good.total(), window),
        classes=classes,
    )


def _numbers(requests: Sequence[RequestMetrics], good: int, window: float) -> GroupNumbers:
    answered = [request for request in requests if request.ok]
    return GroupNumbers(
        requests=len(requests),
        answered=len(answered),
        errors=dict(Counter(request.error for request in requests if request.error).most_common()),
        retry_after=tuple(sorted({request.retry_after for request in requests if request.retry_after is not None})),
        good=good,
        good_share=round(good / len(requests), 4) if requests else None,
        good_rate=_rate(good, window),
        ttft=spread(request.ttft for request in answered if request.ttft is not None),
        itl=spread(gap for request in answered for gap in request.gaps),
        tpot=spread(request.tpot for request in answered if request.tpot is not None),
        e2e=spread(request.e2e for request in answered if request.e2e is not None),
        rates=_rates(requests, answered, window),
        phases=_phases(answered),
        repeats=_repeats(answered),
    )


def _rates(requests: Sequence[RequestMetrics], answered: Sequence[RequestMetrics], window: float) -> Rates:
    dues = [request.due for request in requests]
    visual_tokens = [request.visual_tokens for request in answered if request.visual_tokens is not None]
    return Rates(
        requests=_rate(len(answered), window),
        offered=_rate(len(dues) - 1, max(dues) - min(dues)) if dues else None,
        tokens=_rate(sum(request.tokens for request in answered), window),
        prompt_tokens=_rate(sum(request.prompt_tokens or 0 for request in answered), window),
        images=_rate(sum(request.images for request in answered), window),
        frames=_rate(sum(request.frames for request in answered), window),
        visual_tokens=_rate(sum(visual_tokens), window) if visual_tokens else None,
    )


def _rate(number: float, window: float) -> float | None:
    return round(number / window, 4) if window > 0 else None


def _phases(requests: Sequence[RequestMetrics]) -> dict[str, Spread]:
    groups: dict[str, list[float]] = {}
    for request in requests:
        for name, seconds in request.phases.items():
            groups.setdefault(name, []).append(seconds)
    return _spreads(groups)


def _repeats(requests: Sequence[RequestMetrics]) -> dict[str, Spread]:
    groups: dict[str, list[float]] = {}
    for request in requests:
        if request.ttft is not None:
            groups.setdefault("turn" if request.turn else request.repeat or "new", []).append(request.ttft)
    return _spreads(groups)


def _spreads(groups: dict[str, list[float]]) -> dict[str, Spread]:
    spreads = {name: spread(values) for name, values in groups.items()}
    return {name: known for name, known in spreads.items() if known is not None}


def client_health(requests: Sequence[RequestMetrics], loop_delays: Sequence[float]) -> ClientHealth:
    """Compares the load generator's lag with what is allowed.

    `loop_delays` are the delays with which its event loop woke, in seconds.
    """
    lag = spread(request.lag for request in requests)
    ttft = spread(request.ttft for request in requests if request.ttft is not None)
    allowed = max(LAG_SECONDS, LAG_SHARE * (ttft.p50 if ttft else 0.0))
    warning = "" if lag is None or lag.p99 <= allowed else _fell_behind(lag.p99, allowed)
    return ClientHealth(lag=lag, loop=spread(loop_delays), warning=warning)


def _fell_behind(lag: float, allowed: float) -> str:
    return (
        f"the client fell behind: 1 % of the requests were sent {lag * 1000:.1f} ms late or more "
        f"({allowed * 1000:.1f} ms would do), which their latencies include; give it a core of its own"
    )
