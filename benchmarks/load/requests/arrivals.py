"""Arrival processes: when conversations begin, in seconds from the start, fixed before anything is sent."""

import json
import math
import random
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import NamedTuple

from llava_interleave_serve.benchmarks.load.options import Options


class Arrival(NamedTuple):
    """The begin of a conversation."""

    time: float
    """Seconds from the start of the run."""
    class_name: str | None = None
    """The class of its requests; drawn by weight if None."""


def arrival_times(options: Options, seed: int) -> list[Arrival]:
    """The arrivals of a run, in order of time. In a closed loop all are there from the start.

    Raises ValueError for a trace that cannot be read.
    """
    rng = random.Random(f"arrivals {seed}")
    match options.arrivals:
        case "trace":
            assert options.trace is not None  # noqa: S101 - Options sees to it
            within = [due for due in read_trace(options.trace) if due.time < (options.duration or math.inf)]
            return within[: options.requests]
        case "closed":
            return [Arrival(0.0)] * (options.requests or 0)
        case "constant":
            times = constant(options.rate)
        case "gamma":
            times = gamma(rng, options.rate, options.cv)
        case "ramp":
            assert options.rate_to and options.duration  # noqa: S101, PT018 - as above
            times = ramp(rng, options.rate, options.rate_to, options.duration)
        case _:
            times = poisson(rng, options.rate)
    return [Arrival(time) for time in take_until(times, options.duration, options.requests)]


def constant(rate: float) -> Iterator[float]:
    """An arrival every 1 / rate seconds, from 0."""
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
    """Independent arrivals whose rate changes linearly from `start` to `end` within `duration` seconds.

    Arrivals of a unit-rate Poisson process are moved to the times at which the integral of the rate,
    start * t + (end - start) * t^2 / (2 * duration), reaches them.
    """
    slope, total = (end - start) / duration, 0.0
    while True:
        total += rng.expovariate(1.0)
        if abs(slope) < 1e-12:
            time = total / start
        else:
            under_root = start**2 + 2 * slope * total
            if under_root < 0:
                return  # the integral of a falling rate never reaches the total
            time = (math.sqrt(under_root) - start) / slope
        if time > duration:
            return
        yield time


def take_until(times: Iterator[float], duration: float | None, requests: int | None) -> list[float]:
    """The arrivals of the first `duration` seconds, `requests` at most; one of the two must be given."""
    if duration is None and requests is None:
        raise ValueError("arrivals without an end: give a duration or a number of requests")
    in_time = times if duration is None else takewhile(lambda time: time < duration, times)
    return list(islice(in_time, requests))


def read_trace(file: Path) -> list[Arrival]:
    """Reads a recorded run: one JSON object a line, `{"time": seconds, "class": name}`; the class may be left out.

    Times count from the earliest. Raises ValueError naming the line, and OSError.
    """
    arrivals = [
        _read_line(file, number, line) for number, line in enumerate(file.read_text().split("\n"), 1) if line.strip()
    ]
    if not arrivals:
        raise ValueError(f"{file}: no arrivals in it")
    arrivals.sort(key=lambda arrival: arrival.time)
    start = arrivals[0].time
    return [arrival._replace(time=arrival.time - start) for arrival in arrivals]


def _read_line(file: Path, number: int, line: str) -> Arrival:
    fault = ValueError(f'{file}, line {number}: expected {{"time": seconds, "class": name}}, not {line[:80]!r}')
    try:
        entry = json.loads(line)
        time, name = float(entry["time"]), entry.get("class")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise fault from None
    if not math.isfinite(time) or not (name is None or isinstance(name, str)) or set(entry) - {"time", "class"}:
        raise fault
    return Arrival(time, name)
