"""The highest rate that keeps every class within its target: bracketed by doubling, then halved."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Point:
    """One bounded run at a rate: whether every class kept its target, and what the report shows of it."""

    rate: float
    met: bool
    shown: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """Every point, in the order measured. `low`: the highest rate that was kept; `high`: the lowest that was not.

    The highest rate is between the two. None: no such rate was met in the points allowed.
    """

    points: tuple[Point, ...]
    low: float | None
    high: float | None


async def highest(
    measure: Callable[[float], Awaitable[Point]], start: float, precision: float, most_points: int
) -> Found:
    """Measures at `start`, doubles (or halves) until targets are missed (or kept), then bisects.

    Ends when the bracket is narrower than `precision` of its upper end, or after `most_points` runs.
    """
    points: list[Point] = []
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
    return Found(tuple(points), low, high)
