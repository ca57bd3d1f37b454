"""Definitions of metrics name the place of each in a report, and its format."""

import pytest

from llava_interleave_serve.benchmarks.load.results import metric_definitions
from llava_interleave_serve.benchmarks.load.results.metric_definitions import LATENCIES, METRICS
from tests.support.load.exchanges import record
from tests.support.load.reports import report


@pytest.mark.parametrize(
    ("value", "formatted"),
    [(None, "-"), (0.00123, "1.2 ms"), (0.0123, "12 ms"), (0.9994, "999 ms"), (12.345, "12.35 s")],
)
def test_seconds_are_formatted_with_few_digits(value: float | None, formatted: str) -> None:
    assert metric_definitions.format_seconds(value) == formatted
    assert metric_definitions.format_value(value, "s") == formatted


def test_metric_values_are_formatted_by_unit() -> None:
    formats = [metric_definitions.format_value(0.97531, unit) for unit in ("share", "1/s")]
    assert formats == ["97.5%", "0.9753"]
    assert metric_definitions.format_value(30, "count") == "30"
    assert metric_definitions.format_value(None, "count") == "-"


def test_every_metric_is_read_from_its_place_in_a_report() -> None:
    numbers = report().all
    assert numbers.ttft is not None
    assert numbers.itl is not None
    values = {name: metric.read(numbers) for name, metric in METRICS.items()}
    assert (values["requests"], values["failed"], values["good"]) == (60, 6, numbers.good_share)
    assert [values[f"ttft_{quantile}"] for quantile in ("p50", "p90", "p99")] == [
        numbers.ttft.p50, numbers.ttft.p90, numbers.ttft.p99,
    ]  # fmt: skip
    assert values["itl_p99"] == numbers.itl.p99
    assert (values["request_rate"], values["token_rate"]) == (numbers.rates.requests, numbers.rates.tokens)
    assert values["visual_token_rate"] is None


def test_latencies_of_a_request_are_those_that_it_reached() -> None:
    request = record(ttft=0.5, e2e=None, tpot=None, gaps=[0.1, 0.2])
    assert {name: list(latency.values(request)) for name, latency in LATENCIES.items()} == {
        "ttft": [0.5], "e2e": [], "itl": [0.1, 0.2], "tpot": [],
    }  # fmt: skip


def test_only_throughput_and_goodput_are_better_when_higher() -> None:
    higher = {name for name, metric in METRICS.items() if not metric.lower_is_better}
    assert higher == {"requests", "good", "request_rate", "token_rate", "visual_token_rate"}
