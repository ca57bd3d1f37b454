"""The rate search finds the highest rate, on latencies that a formula gives."""

import pytest

from llava_interleave_serve.benchmarks.load.results import aggregate
from llava_interleave_serve.benchmarks.load.results.rate_search import SearchPoint, SearchResult, search, summarize
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass, Target, Workload
from tests.support.load.exchanges import record
from tests.support.load.reports import search_point

pytestmark = pytest.mark.anyio


async def search_queue(
    capacity: float, start: float, *, precision: float = 0.05, most_points: int = 20
) -> SearchResult:
    """Searches on a queue that serves `capacity` a second, whose latency 1 / (capacity - rate) may be 0.5 s."""

    async def measure(rate: float) -> SearchPoint:
        latency = 1 / (capacity - rate) if rate < capacity else float("inf")
        return search_point(rate, latency <= 0.5)

    return await search(measure, start, precision, most_points)


@pytest.mark.parametrize("capacity", [3.0, 7.3, 40.0])
@pytest.mark.parametrize("start", [0.25, 1.0, 64.0])
async def test_the_rate_search_brackets_the_highest_rate_wherever_it_begins(capacity: float, start: float) -> None:
    result = await search_queue(capacity, start)
    assert result.low is not None
    assert result.high is not None
    assert result.low <= capacity - 2 < result.high
    assert result.high - result.low <= 0.05 * result.high
    assert len(result.points) < 20
    assert all(point.met == (point.rate <= capacity - 2) for point in result.points)


async def test_the_rate_search_doubles_the_rate_and_then_halves_the_bracket() -> None:
    result = await search_queue(9.0, 1.0, precision=0.2)
    assert [point.rate for point in result.points] == [1, 2, 4, 8, 6, 7]
    assert (result.low, result.high) == (7, 8)


async def test_the_rate_search_ends_if_no_rate_is_too_high() -> None:
    result = await search_queue(1e9, 1.0, most_points=5)
    assert (result.low, result.high, len(result.points)) == (16.0, None, 5)


async def test_the_rate_search_ends_if_no_rate_is_low_enough() -> None:
    result = await search_queue(1.0, 8.0, most_points=4)
    assert (result.low, result.high, len(result.points)) == (None, 1.0, 4)


async def test_a_rate_at_which_a_class_with_a_target_has_no_request_is_not_within_every_target() -> None:
    target = Target(ttft=1.0)
    often, rare = RequestClass(name="a", kind="text", target=target), RequestClass(name="b", kind="text", target=target)
    without_target = RequestClass(name="c", kind="text")
    workload = Workload(name="w", classes=(often, rare, without_target))
    runs = {
        "both": [record(name="a"), record(name="b")],
        "rare left out": [record(name="a"), record(name="b", left_out="warm-up")],
        "rare absent": [record(name="a")],
        "none": [],
    }
    met = {name: summarize(1.0, aggregate.aggregate_run(run, workload), workload).met for name, run in runs.items()}
    assert met == {"both": True, "rare left out": False, "rare absent": False, "none": False}
