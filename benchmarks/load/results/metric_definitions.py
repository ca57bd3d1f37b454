"""Metrics that reports show: name, label, unit, direction, and where each stands in a report.

`LATENCIES` are the latencies of a request. `METRICS` are numbers of a group of requests; tables, tiles and comparisons
choose from them by name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from llava_interleave_serve.benchmarks.load.results.aggregate import Numbers, Quantile, Rates, Spread
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics

Unit = Literal["s", "1/s", "share", "count"]
LatencyName = Literal["ttft", "e2e", "itl", "tpot"]


@dataclass(frozen=True, slots=True)
class Latency:
    """A latency of requests."""

    name: LatencyName
    """Its key in reports and in the targets of workloads."""
    symbol: str
    """Its abbreviation in tables."""
    title: str
    """Its name in full."""
    values: Callable[[RequestMetrics], Sequence[float]]
    """Reads its values of a request, in seconds: none, one, or, of inter-token latency, one a gap."""

    def spread(self, numbers: Numbers) -> Spread | None:
        """Reads its spread in a group of requests; None if the group has no values."""
        spreads = {"ttft": numbers.ttft, "e2e": numbers.e2e, "itl": numbers.itl, "tpot": numbers.tpot}
        return spreads[self.name]


def _known(value: float | None) -> Sequence[float]:
    return () if value is None else (value,)


LATENCIES: dict[LatencyName, Latency] = {
    latency.name: latency
    for latency in (
        Latency("ttft", "TTFT", "time to first token", lambda request: _known(request.ttft)),
        Latency("e2e", "e2e", "end to end", lambda request: _known(request.e2e)),
        Latency("itl", "ITL", "between two tokens", lambda request: request.gaps),
        Latency("tpot", "TPOT", "a token after the first, mean of a request", lambda request: _known(request.tpot)),
    )
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of a group of requests."""

    label: str
    """Its header in tables."""
    title: str
    """Its name below a tile."""
    unit: Unit
    lower_is_better: bool
    read: Callable[[Numbers], float | None]
    """Reads its value of a group of requests; None if it has none."""

    def format(self, numbers: Numbers) -> str:
        """Formats the value of a group for a table."""
        return format_value(self.read(numbers), self.unit)


def format_value(value: float | None, unit: Unit) -> str:
    """Formats a value with its unit: `1.23 s`, `12 ms`, `97.5%`, `25.98`, `3`; a dash if there is none."""
    if value is None:
        return "-"
    match unit:
        case "s":
            return format_seconds(value)
        case "share":
            return f"{value:.1%}"
        case "1/s":
            return f"{value:.4g}"
        case "count":
            return str(int(value))


def format_seconds(value: float | None) -> str:
    """Formats a time as `1.23 s`, `12 ms` or `1.2 ms`; a dash if there is none."""
    if value is None:
        return "-"
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"


def _quantile(name: LatencyName, quantile: Quantile, title: str = "") -> Metric:
    latency = LATENCIES[name]

    def read(numbers: Numbers) -> float | None:
        spread = latency.spread(numbers)
        return None if spread is None else {"p50": spread.p50, "p90": spread.p90, "p99": spread.p99}[quantile]

    label = f"{latency.symbol} {quantile}"
    return Metric(label, title or label, "s", lower_is_better=True, read=read)


def _rate(label: str, title: str, read: Callable[[Rates], float | None]) -> Metric:
    return Metric(label, title, "1/s", lower_is_better=False, read=lambda numbers: read(numbers.rates))


METRICS: dict[str, Metric] = {
    "requests": Metric("requests", "requests that count", "count", lower_is_better=False, read=lambda n: n.requests),
    "failed": Metric("failed", "failed", "count", lower_is_better=True, read=lambda n: n.failed),
    "good": Metric("good", "good", "share", lower_is_better=False, read=lambda n: n.good_share),
    "ttft_p50": _quantile("ttft", "p50", "TTFT, median"),
    "ttft_p90": _quantile("ttft", "p90"),
    "ttft_p99": _quantile("ttft", "p99", "TTFT, p99"),
    "itl_p50": _quantile("itl", "p50"),
    "itl_p99": _quantile("itl", "p99", "between tokens, p99"),
    "tpot_p50": _quantile("tpot", "p50"),
    "e2e_p50": _quantile("e2e", "p50"),
    "e2e_p99": _quantile("e2e", "p99"),
    "request_rate": _rate("answered/s", "answered a second", lambda rates: rates.requests),
    "token_rate": _rate("tokens/s", "tokens a second", lambda rates: rates.tokens),
    "visual_token_rate": _rate("visual tokens/s", "visual tokens a second", lambda rates: rates.visual_tokens),
}


def select(*names: str) -> tuple[Metric, ...]:
    """The metrics of those names, in that order."""
    return tuple(METRICS[name] for name in names)
