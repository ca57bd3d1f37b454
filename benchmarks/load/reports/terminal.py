"""The report as a table for a terminal, and its sentences, which the HTML page shows too."""

from llava_interleave_serve.benchmarks.load.results.aggregate import ClassNumbers, GroupNumbers, Spread
from llava_interleave_serve.benchmarks.load.results.checks import Verification
from llava_interleave_serve.benchmarks.load.results.metric_definitions import format_seconds, format_value, select
from llava_interleave_serve.benchmarks.load.results.rate_search import SearchResult
from llava_interleave_serve.benchmarks.load.results.report_data import DISTRIBUTION, Arrivals, Environment, Report
from llava_interleave_serve.benchmarks.reporting import text_tables

COLUMNS = select(
    "requests", "failed", "good", "ttft_p50", "ttft_p90", "ttft_p99", "itl_p50", "itl_p99", "tpot_p50", "e2e_p50",
    "e2e_p99",
)  # fmt: skip
FAILED, GOOD = 2, 3  # the columns of the table that can be missed targets
ARRIVAL_UNITS = {"duration": " s", "rate": "/s", "rate_to": "/s"}


def headers() -> list[str]:
    """Headers of the table. A quantile of the same latency as the column before is named alone, without it."""
    labels = [column.label for column in COLUMNS]
    latencies = [label.rpartition(" ")[0] for label in labels]
    short = [
        label.removeprefix(f"{latency} ") if latency and latency == before else label
        for label, latency, before in zip(labels, latencies, ["", *latencies], strict=False)
    ]
    return ["class", *short]


def rows(report: Report) -> list[list[str]]:
    """A row of cells for each of `report.groups()`."""
    return [_row(name, numbers) for name, numbers in report.groups().items()]


def _row(name: str, numbers: GroupNumbers) -> list[str]:
    cells = [name, *(column.format(numbers) for column in COLUMNS)]
    if isinstance(numbers, ClassNumbers) and numbers.target and not numbers.met:
        cells[GOOD] += " missed"
    return cells


def render(report: Report) -> str:
    """The whole text: a heading, the table, and the sentences, a line each."""
    heading = f"{report.workload.name} on {report.server.model} at {report.server.url}"
    table = text_tables.aligned([headers(), *rows(report)])
    return "\n".join([f"{heading}: {describe_arrivals(report.arrivals)}", "", *table, "", *sentences(report)])


def describe_arrivals(arrivals: Arrivals) -> str:
    """The arrival process in words, such as `poisson arrivals, duration 60 s, rate 4/s`."""
    parameters = arrivals.model_dump(exclude={"process"}, exclude_none=True)
    values = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in parameters.items()}
    words = [f"{name.replace('_', ' ')} {value}{ARRIVAL_UNITS.get(name, '')}" for name, value in values.items()]
    return ", ".join([f"{arrivals.process} arrivals", *words])


def sentences(report: Report) -> list[str]:
    """Sentences about the rest: rates, phases, failures, checks, notes, the search and the load generator."""
    numbers = report.all
    lines = [_rates(numbers), *_phases(numbers.phases)]
    lines += [f"failed: {count} x {error}" for error, count in numbers.errors.items()]
    if numbers.retry_after:
        lines.append(f"Retry-After: {', '.join(numbers.retry_after)}")
    if report.verification:
        lines.append(describe_verification(report.verification))
    if report.known_answers:
        lines.append(f"probes: {report.known_answers.right} of {report.known_answers.answered} right")
    lines += [f"left out: {count} x {reason}" for reason, count in report.left_out.items()]
    lines += [f"note: {note}" for note in report.notes]
    if report.search:
        lines.append(describe_search(report.search))
    if report.environment:
        lines.append(f"client: {describe_environment(report.environment)}")
    if report.client.warning:
        lines.append(f"WARNING: {report.client.warning}")
    return lines


def _rates(numbers: GroupNumbers) -> str:
    rates = numbers.rates.model_dump(exclude={"offered"}, exclude_none=True)
    words = [f"{format_value(rate, '1/s')} {name.replace('_', ' ')}" for name, rate in rates.items()]
    return f"a second: {', '.join(words)}"


def _phases(phases: dict[str, Spread]) -> list[str]:
    words = [f"{name} {format_seconds(spread.p50)}" for name, spread in phases.items()]
    return [f"phases, p50: {', '.join(words)}"] if words else []


def describe_environment(environment: Environment) -> str:
    """The load generator's software and machine, as a list of words."""
    version = f"{DISTRIBUTION} {environment.version}" if environment.version else f"{DISTRIBUTION}, not installed"
    cpus = f"{environment.cpus} CPUs" if environment.cpus else "CPUs not known"
    return f"{version}, Python {environment.python}, {environment.platform}, {cpus}"


def describe_verification(verification: Verification) -> str:
    """The comparison of the answers with those given alone, as a sentence."""
    same, compared = verification.same, verification.compared
    unanswered = verification.sent_alone - compared
    more = f" ({unanswered} more were not answered twice)" if unanswered else ""
    return f"verify: {same} of {compared} requests were answered under load as alone{more}"


def describe_search(search: SearchResult) -> str:
    """The outcome of a search, as a sentence."""
    runs = f"({len(search.points)} runs)"
    low, high = (format_value(rate, "1/s") for rate in (search.low, search.high))
    if search.low is None:
        return f"search: no rate down to {high}/s keeps every class within its target {runs}"
    if search.high is None:
        return f"search: every rate up to {low}/s keeps every class within its target {runs}"
    return f"search: the highest rate within every target is {low}/s, less than {high}/s {runs}"
