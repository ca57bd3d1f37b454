"""The search, on latencies that a formula gives."""

import pytest

from llava_interleave_serve.benchmarks.load.results.rate_search import Found, Point, highest

pytestmark = pytest.mark.anyio


async def search(capacity: float, start: float, *, precision: float = 0.05, most_points: int = 20) -> Found:
    """Of a queue that serves `capacity` a second, whose latency 1 / (capacity - rate) may be 0.5 s."""

    async def measure(rate: float) -> Point:
        latency = 1 / (capacity - rate) if rate < capacity else float("inf")
        return Point(rate, latency <= 0.5)

    return await highest(measure, start, precision, most_points)


@pytest.mark.parametrize("capacity", [3.0, 7.3, 40.0])
@pytest.mark.parametrize("start", [0.25, 1.0, 64.0])
async def test_the_highest_rate_is_in_the_bracket_wherever_it_begins(capacity: float, start: float) -> None:
    found = await search(capacity, start)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= capacity - 2 < found.high
    assert found.high - found.low <= 0.05 * found.high
    assert len(found.points) < 20
    assert all(point.met == (point.rate <= capacity - 2) for point in found.points)


async def test_it_doubles_and_then_halves() -> None:
    found = await search(9.0, 1.0, precision=0.2)
    assert [point.rate for point in found.points] == [1, 2, 4, 8, 6, 7]
    assert (found.low, found.high) == (7, 8)


async def test_it_ends_when_no_rate_is_too_high() -> None:
    found = await search(1e9, 1.0, most_points=5)
    assert (found.low, found.high, len(found.points)) == (16.0, None, 5)


async def test_it_ends_when_no_rate_is_low_enough() -> None:
    found = await search(1.0, 8.0, most_points=4)
    assert (found.low, found.high, len(found.points)) == (None, 1.0, 4)
