"""The requests of a run."""

from collections import Counter

import pytest

from llava_interleave_serve.benchmarks.load import measure
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.requests import schedule
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass, Workload, WorkloadError

WORK = Workload(
    name="w",
    classes=(
        RequestClass(name="often", kind="text", weight=3),
        RequestClass(name="talk", kind="text", turns=(3,), think=2.0),
    ),
)


def test_classes_are_drawn_by_weight() -> None:
    asks = schedule.make(WORK, [(0.01 * at, None) for at in range(4000)], 0)
    begun = Counter(ask.kind.name for ask in asks if ask.turn == 0)
    assert begun["often"] / begun.total() == pytest.approx(0.75, abs=0.03)


def test_turns_are_due_think_seconds_apart_in_the_order_of_time() -> None:
    asks = schedule.make(WORK, [(0.0, "talk"), (1.0, "often")], 0)
    assert [(ask.kind.name, ask.due) for ask in asks] == [("talk", 0), ("often", 1), ("talk", 2), ("talk", 4)]
    assert [[ask.turn for ask in talk] for talk in schedule.conversations(asks)] == [[0, 1, 2], [0]]


def test_a_plan_follows_from_its_seed() -> None:
    dues = [(0.1 * at, None) for at in range(20)]
    assert schedule.make(WORK, dues, 1) == schedule.make(WORK, dues, 1) != schedule.make(WORK, dues, 2)


def test_an_unknown_class_of_a_trace_is_an_error() -> None:
    with pytest.raises(WorkloadError, match="no class 'other'"):
        schedule.make(WORK, [(0.0, "other")], 0)


@pytest.mark.parametrize("process", ["poisson", "gamma", "constant", "ramp"])
def test_every_open_process_keeps_its_rate(process: str) -> None:
    options = Options(url="", workload="", arrivals=process, rate=50, rate_to=50, duration=100)
    assert len(measure.due(options, 0)) == pytest.approx(5000, rel=0.15)
