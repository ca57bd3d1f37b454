"""Arrival processes and recorded traces have the rate, variation and end that were asked for."""

import itertools
import random
import statistics
from pathlib import Path

import pytest

from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.requests import arrivals


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise([0.0, *times])]


def test_constant_arrivals_are_evenly_spaced_from_the_start() -> None:
    assert arrivals.take_until(arrivals.constant(4.0), 1.0, None) == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0])
def test_gamma_arrivals_have_the_rate_and_the_variation_asked_for(cv: float) -> None:
    intervals = gaps(arrivals.take_until(arrivals.gamma(random.Random(1), 5.0, cv), None, 40_000))
    assert statistics.fmean(intervals) == pytest.approx(0.2, rel=0.05)
    assert statistics.pstdev(intervals) / statistics.fmean(intervals) == pytest.approx(cv, rel=0.05)


def test_poisson_counts_vary_as_much_as_their_mean() -> None:
    times = arrivals.take_until(arrivals.poisson(random.Random(2), 10.0), 2000.0, None)
    counts = [0] * 2000
    for time in times:
        counts[int(time)] += 1
    assert statistics.fmean(counts) == pytest.approx(10.0, rel=0.03)
    assert statistics.pvariance(counts) == pytest.approx(10.0, rel=0.1)


@pytest.mark.parametrize(("start", "end"), [(1.0, 9.0), (9.0, 1.0), (4.0, 4.0)])
def test_a_ramp_goes_from_one_rate_to_the_other(start: float, end: float) -> None:
    times = list(arrivals.ramp(random.Random(3), start, end, 1000.0))
    assert max(times) <= 1000.0
    assert len(times) == pytest.approx((start + end) / 2 * 1000, rel=0.05)
    tenth = sum(time < 100 for time in times) / 100
    assert tenth == pytest.approx(start + (end - start) * 0.05, rel=0.2)


def test_a_ramp_down_to_zero_ends() -> None:
    times = list(arrivals.ramp(random.Random(4), 5.0, 0.0, 100.0))
    assert len(times) == pytest.approx(250, rel=0.2)


def test_arrivals_end_at_the_number_or_the_time_whichever_is_first() -> None:
    assert len(arrivals.take_until(arrivals.constant(10.0), 1.0, 3)) == 3
    assert len(arrivals.take_until(arrivals.constant(10.0), 1.0, 30)) == 10
    with pytest.raises(ValueError, match="without an end"):
        arrivals.take_until(arrivals.constant(1.0), None, None)


def test_equal_seeds_give_equal_arrivals_and_others_do_not() -> None:
    first, same, other = (
        arrivals.take_until(arrivals.poisson(random.Random(seed), 3.0), 10.0, None) for seed in ("a", "a", "b")
    )
    assert first == same != other


def test_a_trace_counts_from_its_first_line_in_order_of_time(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text('{"time": 12.5, "class": "video"}\n\n{"time": 10, "class": null}\n{"time": 11}\n')
    assert arrivals.read_trace(file) == [(0.0, None), (1.0, None), (2.5, "video")]


@pytest.mark.parametrize(
    "line",
    [
        "nothing",
        '{"class": "a"}',
        '{"time": "x"}',
        "[1]",
        '{"time": 1, "class": 3}',
        '{"time": 1, "clas": "a"}',
        '{"time": NaN}',
    ],
)
def test_a_wrong_line_of_a_trace_is_named(line: str, tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text('{"time": 0}\n' + line + "\n")
    with pytest.raises(ValueError, match="line 2"):
        arrivals.read_trace(file)


def test_an_empty_trace_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text("\n")
    with pytest.raises(ValueError, match="no arrivals"):
        arrivals.read_trace(file)


@pytest.mark.parametrize("process", ["poisson", "gamma", "constant", "ramp"])
def test_every_open_process_keeps_its_rate(process: str) -> None:
    options = Options(
        url="", workload="", arrivals=process, rate=50, rate_to=50 if process == "ramp" else None, duration=100
    )
    assert len(arrivals.arrival_times(options, 0)) == pytest.approx(5000, rel=0.15)


def test_a_closed_loop_has_all_its_arrivals_at_the_start() -> None:
    options = Options(url="", workload="", arrivals="closed", requests=3)
    assert arrivals.arrival_times(options, 0) == [(0.0, None)] * 3


def test_a_trace_ends_with_the_duration_or_the_number_of_requests(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text("".join(f'{{"time": {second}}}\n' for second in range(10)))
    options = Options(url="", workload="", arrivals="trace", trace=file, duration=5.0)
    assert [arrival.time for arrival in arrivals.arrival_times(options, 0)] == [0, 1, 2, 3, 4]
    options = Options(url="", workload="", arrivals="trace", trace=file, requests=2)
    assert [arrival.time for arrival in arrivals.arrival_times(options, 0)] == [0, 1]


def test_a_line_of_a_trace_ends_at_a_newline_alone(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text('{"time": 1, "class": "a\u2028b"}\r\n{"time": 2}\n')
    assert arrivals.read_trace(file) == [(0.0, "a\u2028b"), (1.0, None)]
