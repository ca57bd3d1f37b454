"""The timing of a request is the durations of its phases."""

import pytest

from llava_interleave_serve.server.observability.timing import PHASES, RequestTiming


def test_overlapping_intervals_of_a_phase_count_once() -> None:
    phases = RequestTiming()
    for start, end in ((1.0, 3.0), (2.0, 4.0), (10.0, 11.0), (10.2, 10.4)):
        phases.add("fetch", start, end)
    assert phases.seconds() == {"fetch": pytest.approx(4.0)}
    assert phases.spans() == {"fetch": (1.0, 11.0)}


def test_the_timing_header_lists_phases_in_the_order_in_which_a_request_passes_them() -> None:
    phases = RequestTiming()
    for name in reversed(PHASES):
        phases.add(name, 0.0, 0.25)
    header = phases.header()
    assert header.startswith("admission;dur=250, fetch;dur=250, ")
    assert [entry.partition(";")[0] for entry in header.split(", ")] == [*PHASES, "total"]


def test_a_phase_that_raises_an_error_is_measured() -> None:
    phases = RequestTiming()
    with pytest.raises(ValueError, match="no"), phases.measure("decode"):
        raise ValueError("no")
    assert "decode" in phases.seconds()


def test_shared_work_counts_in_the_timing_of_every_request_that_waited() -> None:
    shared, mine = RequestTiming(), RequestTiming()
    shared.add("fetch", 1.0, 2.0)
    mine.add("fetch", 1.5, 3.0)
    mine.merge(shared)
    assert mine.seconds() == {"fetch": pytest.approx(2.0)}


def test_a_replaced_phase_has_the_latest_interval_only() -> None:
    phases = RequestTiming()
    phases.replace("prefill", 1.0, 2.0)
    phases.replace("prefill", 1.0, 5.0)
    assert phases.seconds() == {"prefill": 4.0}
