"""Plot over the time of a run: every request from due to end, and the number of requests in the server."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from llava_interleave_serve.benchmarks.load.reports import plot_style
from llava_interleave_serve.benchmarks.load.results.report_data import Report
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics

MAX_LINES = 400  # requests that are drawn, evenly chosen
MAX_STEPS = 1500  # points of the curve of requests in the server
PAUSE_SHARE = 0.01  # of the run's time, left free between two requests of a row

Line = tuple[RequestMetrics, int]
"""A request and its row in the plot."""


def timeline(report: Report) -> Figure | None:
    """A line a request in the first free row: faint until its first token, full from there to its end.

    None without requests.
    """
    requests = sorted(report.requests, key=lambda request: request.due)
    if not requests:
        return None
    sample = requests[:: -(-len(requests) // MAX_LINES)]
    lines = list(zip(sample, assign_rows(sample), strict=True))
    row_count = max(row for _, row in lines) + 1
    height = min(6.8, 2.4 + 0.13 * row_count)
    with plot_style.figure(height, rows=2, sharex=True, height_ratios=[height - 1.6, 1]) as (figure, (above, below)):
        width = min(9.0, 45 * (height - 1.8) / row_count)
        colours = plot_style.class_colours(report)
        for name in report.classes:
            _draw_lines(above, [line for line in lines if line[0].name == name], colours[name], name, width)
        _draw_failures(above, lines)
        above.set_yticks([])
        above.set_ylim(row_count - 0.4, -0.6)
        above.set_ylabel(f"{len(sample)} requests" + (f" of {len(requests)}" if len(sample) < len(requests) else ""))
        plot_style.add_legend(figure, above)
        _draw_concurrency(below, requests)
    return figure


def assign_rows(requests: Sequence[RequestMetrics]) -> list[int]:
    """Assigns each request the first row in which every earlier one has ended. Requests are in the order due."""
    pause = PAUSE_SHARE * (requests[-1].due - requests[0].due)
    row_ends: list[float] = []
    rows = []
    for request in requests:
        row = next((index for index, end in enumerate(row_ends) if end <= request.due), len(row_ends))
        row_ends[row : row + 1] = [_end(request) + pause]
        rows.append(row)
    return rows


def _first_token(request: RequestMetrics) -> float:
    return _end(request) if request.ttft is None else request.due + request.ttft


def _end(request: RequestMetrics) -> float:
    """End of the answer, or the last that is known of it."""
    if request.e2e is not None:
        return request.due + request.e2e
    return request.due + (request.ttft or 0.0)


def _draw_lines(axes: Axes, lines: Sequence[Line], colour: str, name: str, width: float) -> None:
    waits = [[(request.due, row), (_first_token(request), row)] for request, row in lines]
    streams = [[(_first_token(request), row), (_end(request), row)] for request, row in lines]
    axes.add_collection(LineCollection(waits, colors=colour, alpha=0.35, linewidths=width, capstyle="butt"))
    axes.add_collection(LineCollection(streams, colors=colour, linewidths=width, capstyle="butt", label=name))
    axes.autoscale_view()


def _draw_failures(axes: Axes, lines: Sequence[Line]) -> None:
    failed = [(request.due, row) for request, row in lines if request.error]
    if failed:
        dues, rows = zip(*failed, strict=True)
        axes.scatter(dues, rows, marker="x", s=22, color=plot_style.BAD, linewidths=1.6, label="failed", zorder=3)


def _draw_concurrency(axes: Axes, requests: Sequence[RequestMetrics]) -> None:
    """Draws the number of requests that are due and have not ended."""
    changes = sorted(change for request in requests for change in ((request.due, 1), (_end(request), -1)))
    times, counts, running = [0.0], [0], 0
    for time, change in changes:
        running += change
        times.append(time)
        counts.append(running)
    step = -(-len(times) // MAX_STEPS)
    axes.fill_between(times[::step], counts[::step], step="post", color=plot_style.FAINT, alpha=0.35)
    axes.set_ylabel("at once")
    axes.set_xlabel("seconds from the start")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
