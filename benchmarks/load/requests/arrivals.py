"""When requests are due: seconds from the start, fixed before anything is sent."""

import json
import math
import random
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path

Due = tuple[float, str | None]  # seconds from the start, and the class if the arrivals name one


def constant(rate: float) -> Iterator[float]:
    """Every 1 / rate seconds, from 0."""
    number = 0
    while True:
        yield number / rate
        number += 1


def gamma(rng: random.Random, rate: float, cv: float) -> Iterator[float]:
    """Gaps of mean 1 / rate from a gamma distribution; cv is their standard deviation over their mean.

    cv = 1 is a Poisson process; above, requests come in bursts; below, more evenly.
    """
    shape = 1 / cv**2
    time = 0.0
    while True:
        time += rng.gammavariate(shape, 1 / (shape * rate))
        yield time


def poisson(rng: random.Random, rate: float) -> Iterator[float]:
    """Independent arrivals, `rate` a second."""
    time = 0.0
    while True:
        time += rng.expovariate(rate)
        yield time


def ramp(rng: random.Random, start: float, end: float, duration: float) -> Iterator[float]:
    """Independent arrivals whose rate goes from `start` to `end` in `duration` seconds, on a straight line.

    Unit arrivals are placed where the integral of the rate, start * t + (end - start) * t^2 / (2 * duration),
    reaches them.
    """
    slope, total = (end - start) / duration, 0.0
    while True:
        total += rng.expovariate(1.0)
        if abs(slope) < 1e-12:
            time = total / start
        else:
            under = start**2 + 2 * slope * total
            if under < 0:
                return  # a falling rate has nothing left
            time = (math.sqrt(under) - start) / slope
        if time > duration:
            return
        yield time


def until(times: Iterator[float], duration: float | None, requests: int | None) -> list[float]:
    """The arrivals of the first `duration` seconds, `requests` at most; one of the two must be given."""
    if duration is None and requests is None:
        raise ValueError("arrivals without an end: give a duration or a number of requests")
    in_time = times if duration is None else takewhile(lambda time: time < duration, times)
    return list(islice(in_time, requests))


def trace(file: Path) -> list[Due]:
    """A recorded run: one JSON object a line, `{"time": seconds, "class": name}`; the class may be left out.

    Times count from the first. Raises ValueError naming the line.
    """
    found: list[Due] = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            time, name = float(entry["time"]), entry.get("class")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(
                f'{file}, line {number}: expected {{"time": seconds, "class": name}}, not {line[:80]!r}'
            ) from None
        if not math.isfinite(time) or not (name is None or isinstance(name, str)) or set(entry) - {"time", "class"}:
            raise ValueError(f'{file}, line {number}: expected {{"time": seconds, "class": name}}, not {line[:80]!r}')
        found.append((time, name))
    if not found:
        raise ValueError(f"{file}: no arrivals in it")
    found.sort(key=lambda due: due[0])
    return [(time - found[0][0], name) for time, name in found]
