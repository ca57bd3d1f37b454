"""A whole measurement: the server asked what it is, one run or a search, and the outcome written."""

import dataclasses
from typing import Any

from llava_interleave_serve.benchmarks.load.client import sender, server_info
from llava_interleave_serve.benchmarks.load.client.request_format import Dialect
from llava_interleave_serve.benchmarks.load.measure import measure
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.progress import Progress
from llava_interleave_serve.benchmarks.load.reports import terminal
from llava_interleave_serve.benchmarks.load.results import aggregate, rate_search, report_data
from llava_interleave_serve.benchmarks.load.results.rate_search import SearchPoint, SearchResult
from llava_interleave_serve.benchmarks.load.results.report_data import Report, RunResult
from llava_interleave_serve.benchmarks.load.workload import schema
from llava_interleave_serve.benchmarks.load.workload.schema import Workload
from llava_interleave_serve.benchmarks.load.workload.strict import WorkloadError

SEED_STEP = 1_000_003  # from one point of a search to the next: media of its own, or the server would know them


async def bench(options: Options, progress: Progress) -> Report:
    """Measures and builds the report. Raises WorkloadError, NoServer, ValueError for a wrong trace."""
    work = schema.load(options.workload)
    if options.search and not any(kind.target.limits for kind in work.classes):
        raise WorkloadError(f"a search needs a target in workload {work.name!r}")
    seed = work.seed if options.seed is None else options.seed
    async with sender.connect(options.url, options.api_key, options.timeout) as connected:
        facts = await server_info.ask(connected, options.model, options.dialect)
        tokens = options.tokens_per_visual or facts.tokens_per_visual
        options = dataclasses.replace(options, tokens_per_visual=tokens)
        facts = dataclasses.replace(facts, tokens_per_visual=tokens)
        dialect = Dialect(facts.model, facts.dialect)

        async def run(rate: float, number: int) -> RunResult:
            at_rate = dataclasses.replace(options, rate=rate)
            return await measure(at_rate, work, seed + SEED_STEP * number, connected, dialect, progress)

        found = None
        if options.search:
            kept, found = await _search(options, work, run, progress)
            options = dataclasses.replace(options, rate=found.best_rate)
        else:
            kept = await run(options.rate, 0)
    return report_data.build(options, work, facts, kept, found)


async def _search(options: Options, work: Workload, run: Any, progress: Progress) -> tuple[RunResult, SearchResult]:
    """The search, and the run at the highest rate that was kept, or else the last."""
    runs: dict[float, RunResult] = {}

    async def point(rate: float) -> SearchPoint:
        progress.say(f"point {len(runs) + 1}: {rate:.4g}/s")
        runs[rate] = await run(rate, len(runs))
        measured = rate_search.summarize(rate, aggregate.aggregate_run(runs[rate].requests, work))
        progress.keep(f"point {len(runs)}: {rate:.4g}/s {'within' if measured.met else 'not within'} every target")
        return measured

    found = await rate_search.search(point, options.rate, options.precision, options.most_points)
    kept = runs[found.best_rate]
    kept.notes += _too_few(found, work)
    return kept, found


def _too_few(found: SearchResult, work: Workload) -> list[str]:
    """The classes of which a run of the search had so few requests that one miss was too many."""
    notes = []
    for kind in work.classes:
        fewest = min(
            (point.classes[kind.name].requests for point in found.points if kind.name in point.classes),
            default=0,
        )
        if fewest * (1 - kind.target.share) < 1:
            notes.append(
                f"search: a run had only {fewest} requests of {kind.name!r}: one miss decides; a longer run is surer"
            )
    return notes


def write(report: Report, options: Options) -> None:
    """The table to stdout, the JSON and the HTML report to their files."""
    print(terminal.render(report))
    if options.json is not None:
        options.json.write_text(report.model_dump_json() + "\n")
    if options.html is not None:
        from llava_interleave_serve.benchmarks.load.reports import html  # noqa: PLC0415 - brings matplotlib

        options.html.write_text(html.render(report))
