"""What became of the steps: how a step's output is read, and the table of all of them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from llava_interleave_serve.benchmarks.load.results import report_data

# Of the known answers, at least. On a CPU 733 of 734 are right; a wrong kernel or cache has most of them wrong, and
# bfloat16 a few.
RIGHT = 0.95


class Finished(NamedTuple):
    """A command that has ended.

    code: of its exit. output: its standard output. report: the file that it was to write, if any.
    """

    code: int
    output: str
    report: Path


class Reading(NamedTuple):
    """What a command has found.

    figures: to be kept. fault: what is wrong, in words; None if nothing is.
    """

    figures: Any
    fault: str | None = None


Reader = Callable[[Finished], Reading]


def last_line(finished: Finished) -> Reading:
    """Reads the last line, as JSON if it is some; the exit code tells if something is wrong."""
    line = (finished.output.strip().splitlines() or [""])[-1]
    try:
        figures = json.loads(line)
    except ValueError:
        figures = line
    return Reading(figures, f"exit code {finished.code}" if finished.code else None)


def json_line(finished: Finished) -> Reading:
    """`last_line` of a command that ends with JSON whatever it finds."""
    reading = last_line(finished)
    if isinstance(reading.figures, str):
        return reading._replace(fault=reading.fault or "the last line is not JSON")
    return reading


def known_answers(finished: Finished) -> Reading:
    """Reads the load test's report on the demo, whose right answers are known.

    A share of other answers under load than alone is no fault by itself: sums of another batch round differently.
    """
    try:
        report = report_data.read(finished.report)
    except report_data.NotAReport as error:
        return Reading(None, f"exit code {finished.code}: {error}")
    known, verified = report.known_answers, report.verification
    figures = {
        "requests": report.all.requests,
        "answered": report.all.answered,
        "right": known and f"{known.right} of {known.answered}",
        "same_as_alone": verified and f"{verified.same} of {verified.compared}",
        "ttft_p99_ms": report.all.ttft and round(report.all.ttft.p99 * 1e3, 1),
    }
    if report.all.requests == 0 or report.all.answered < report.all.requests:
        return Reading(figures, f"not answered: {report.all.errors}")
    if known is None or known.right < RIGHT * known.answered:
        return Reading(figures, f"less than {RIGHT:.0%} of the answers are right")
    return Reading(figures)


def rate_search(finished: Finished) -> Reading:
    """Reads the load test's report of a search; a server that keeps no target at any rate is slow and not wrong."""
    try:
        report = report_data.read(finished.report)
    except report_data.NotAReport as error:
        return Reading(None, f"exit code {finished.code}: {error}")
    found = report.search
    if found is None:
        return Reading(None, "the report is of no search")
    tried = {point.rate: point.met for point in found.points}
    figures = {"highest_rate": found.low, "missed_at": found.high, "tried": tried}
    if not any(point.answered for point in found.points):
        return Reading(figures, f"nothing was answered: {report.all.errors}")
    return Reading(figures)


@dataclass(frozen=True)
class Result:
    """What became of a step.

    Attributes:
        name: of the step.
        outcome: "passed", "failed", "wrong", "ended" (its time was over), "left out" or, in a dry run, "checked".
        seconds: that it took.
        found: its figures.
        why: of an outcome that is not "passed".

    """

    name: str
    outcome: str
    seconds: float = 0.0
    found: Any = None
    why: str | None = None


def table(results: Sequence[Result], title: str) -> str:
    """The results as a Markdown table."""
    lines = [f"# {title}", "", "| step | outcome | seconds | found |", "|---|---|---|---|"]
    for each in results:
        found = each.found if isinstance(each.found, str) or each.found is None else json.dumps(each.found)
        text = "; ".join(filter(None, (each.why, found))).replace("|", "/").replace("\n", " ")
        lines.append(f"| {each.name} | {each.outcome} | {each.seconds:.0f} | {text[:400]} |")
    return "\n".join(lines) + "\n"
