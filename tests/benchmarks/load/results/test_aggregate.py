"""Aggregates are quantiles, goodput and rates of request metrics made by hand."""

import pytest

from llava_interleave_serve.benchmarks.load.results import aggregate
from llava_interleave_serve.benchmarks.load.results.aggregate import Spread
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass, Target, Workload
from tests.support.load.exchanges import record


def work(**target: float) -> Workload:
    return Workload(
        name="w",
        classes=(RequestClass(name="a", kind="text", target=Target(**target)), RequestClass(name="b", kind="text")),
    )


def test_quantiles_are_those_of_the_measured_values() -> None:
    spread = aggregate.spread(percent / 100 for percent in range(101))
    assert spread == Spread(p50=0.5, p90=0.9, p99=0.99, mean=0.5, max=1.0, n=101)
    assert aggregate.spread([]) is None


@pytest.mark.parametrize(
    ("target", "good"),
    [
        ({}, True),
        ({"ttft": 0.5}, True),
        ({"ttft": 0.49}, False),
        ({"itl": 0.3}, True),
        ({"itl": 0.29}, False),
        ({"tpot": 0.19}, False),
        ({"e2e": 0.99}, False),
        ({"ttft": 0.5, "itl": 0.3, "tpot": 0.2, "e2e": 1.0}, True),
    ],
)
def test_a_request_is_good_within_every_limit_of_its_target(target: dict[str, float], good: bool) -> None:
    request = record(ttft=0.5, gaps=[0.1, 0.3], tpot=0.2, e2e=1.0)
    assert aggregate.is_good(request, Target(**target)) is good


def test_a_failed_request_is_never_good() -> None:
    assert not aggregate.is_good(record(error="429 busy"), Target())
    assert not aggregate.is_good(record(error="", ttft=None), Target(ttft=9.0))


def test_goodput_is_of_all_requests_and_quantiles_are_of_the_answered() -> None:
    records = [
        record(due=0.0, ttft=0.2),
        record(due=1.0, ttft=0.4),
        record(due=3.0, ttft=None, e2e=None, error="429 busy"),
    ]
    requests = [*records, record(name="b", due=1.0, e2e=3.0)]
    numbers = aggregate.aggregate_run(requests, work(ttft=0.3, share=0.5))
    a = numbers.classes["a"]
    assert (a.requests, a.answered, a.failed, a.good, a.met) == (3, 2, 1, 1, False)
    assert a.good_share == pytest.approx(0.3333)
    assert a.ttft is not None
    assert a.ttft.p50 == pytest.approx(0.3)
    assert a.errors == {"429 busy": 1}
    assert numbers.window == 4.0
    assert numbers.all.rates.requests == 0.75
    assert numbers.all.good == 2


def test_a_class_keeps_its_target_if_its_share_is_good() -> None:
    records = [record(ttft=0.1), record(ttft=0.9)]
    assert aggregate.aggregate_run(records, work(ttft=0.5, share=0.5)).classes["a"].met
    assert not aggregate.aggregate_run(records, work(ttft=0.5, share=0.6)).classes["a"].met


def test_requests_that_are_left_out_count_in_no_aggregate() -> None:
    numbers = aggregate.aggregate_run([record(ttft=9.0, left_out="warm-up"), record(due=5.0, ttft=0.5)], work())
    assert numbers.left_out == {"warm-up": 1}
    assert numbers.all.requests == 1
    assert numbers.all.ttft is not None
    assert numbers.all.ttft.max == 0.5
    assert numbers.window == 1.0


def test_rates_of_visuals_are_of_answered_requests() -> None:
    records = [
        record(due=0.0, e2e=2.0, images=3, frames=1, visual_tokens=196),
        record(images=50, error="timeout", e2e=None),
    ]
    rates = aggregate.aggregate_run(records, work()).all.rates
    assert (rates.images, rates.frames, rates.visual_tokens) == (1.5, 0.5, 98.0)


def test_the_offered_rate_is_that_of_the_gaps_between_arrivals() -> None:
    every_quarter = [record(due=3 + number / 4) for number in range(9)]
    assert aggregate.aggregate_run(every_quarter, work()).all.rates.offered == 4.0
    assert aggregate.aggregate_run(every_quarter[:2], work()).all.rates.offered == 4.0
    for at_once in (every_quarter[:1], [record(due=1.0)] * 3, []):
        assert aggregate.aggregate_run(at_once, work()).all.rates.offered is None


def test_a_rate_of_unknown_visual_tokens_is_unknown_and_not_0() -> None:
    assert aggregate.aggregate_run([record(images=3)], work()).all.rates.visual_tokens is None


def test_repeats_are_distinguished_from_further_turns() -> None:
    records = [record(ttft=0.9), record(repeat="exact", ttft=0.1), record(turn=1, ttft=0.2)]
    repeats = aggregate.aggregate_run(records, work()).all.repeats
    assert {name: spread.p50 for name, spread in repeats.items()} == {"new": 0.9, "exact": 0.1, "turn": 0.2}


def test_a_load_generator_that_falls_behind_is_a_warning() -> None:
    assert aggregate.client_health([record(lag=0.001)] * 100, [0.0]).warning == ""
    assert "10.0 ms late" in aggregate.client_health([record(lag=0.01, ttft=0.02)] * 100, [0.0]).warning
    # A hundredth of what is measured:
    assert aggregate.client_health([record(lag=0.01, ttft=1.0)] * 100, [0.0]).warning == ""
