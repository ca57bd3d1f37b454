"""The timeline puts requests into rows in which none overlap."""

from llava_interleave_serve.benchmarks.load.reports import plots_timeline
from tests.support.load.exchanges import record


def test_no_two_requests_in_one_row_of_the_timeline_overlap() -> None:
    ends = ((0.0, 5.0), (1.0, 1.0), (3.0, 9.0), (6.0, 1.0), (100.0, 1.0))
    requests = [record(due=due, e2e=e2e) for due, e2e in ends]
    assert plots_timeline.assign_rows(requests) == [0, 1, 1, 0, 0]
