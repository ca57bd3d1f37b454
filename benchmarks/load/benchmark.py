"""A whole measurement, through all five folders: workload to requests, sent, to results, to reports."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from llava_interleave_serve.benchmarks.load.client import load_loop, sender, server_info
from llava_interleave_serve.benchmarks.load.client.body_store import BodyStore
from llava_interleave_serve.benchmarks.load.client.request_format import RequestFormat
from llava_interleave_serve.benchmarks.load.client.sender import Clock, Sender
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.progress import Progress
from llava_interleave_serve.benchmarks.load.reports import terminal
from llava_interleave_serve.benchmarks.load.requests.arrivals import arrival_times
from llava_interleave_serve.benchmarks.load.requests.schedule import ScheduledRequest, build_schedule
from llava_interleave_serve.benchmarks.load.results import aggregate, checks, rate_search, report_data, request_metrics
from llava_interleave_serve.benchmarks.load.results.rate_search import SearchPoint, SearchResult
from llava_interleave_serve.benchmarks.load.results.report_data import Report, RunResult
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics
from llava_interleave_serve.benchmarks.load.workload import schema
from llava_interleave_serve.benchmarks.load.workload.schema import Workload, WorkloadError

# Between the seeds of two runs of a search: each shows media of its own, which the server cannot have in its caches.
SEED_STEP = 1_000_003
PREPARED = 50  # bodies after which the progress line is updated


async def measure(options: Options, progress: Progress) -> Report:
    """Measures a server and returns the report.

    Raises WorkloadError, NoServer if nothing that can be measured answers, and ValueError for a trace that cannot be
    read.
    """
    workload = schema.load(options.workload)
    if options.search and not any(request_class.target.limits for request_class in workload.classes):
        raise WorkloadError(f"a search needs a target in workload {workload.name!r}")
    async with sender.connect(options.url, options.api_key, options.timeout) as client:
        server = await server_info.fetch(client, options.model, options.dialect)
        tokens = options.tokens_per_visual or server.tokens_per_visual
        options = dataclasses.replace(options, tokens_per_visual=tokens)
        server = dataclasses.replace(server, tokens_per_visual=tokens)
        load = _Load(options, workload, client, RequestFormat(server.model, server.dialect), progress)
        search = None
        if options.search:
            run, search = await _search(load)
            options = dataclasses.replace(options, rate=search.best_rate)
        else:
            run = await load.run(options.rate, 0)
    return report_data.build(options, workload, server, run, search)


@dataclass(frozen=True, slots=True)
class _Load:
    """The load that is put on a server, in one run or in the several of a search."""

    options: Options
    workload: Workload
    client: httpx.AsyncClient
    request_format: RequestFormat
    progress: Progress

    async def run(self, rate: float, number: int) -> RunResult:
        """Prepares and sends one run of the load at `rate` arrivals a second; `number` counts the runs of a search.

        Raises WorkloadError for media that are not there, ValueError for a trace that cannot be read.
        """
        self.progress.update("preparing")
        options = dataclasses.replace(self.options, rate=rate)
        seed = (self.workload.seed if options.seed is None else options.seed) + SEED_STEP * number
        requests = build_schedule(self.workload, arrival_times(options, seed), seed)
        with BodyStore() as bodies:
            changes_before = Counter(self.request_format.changes)
            requests = await asyncio.to_thread(self._write_bodies, requests, bodies)
            changes = self.request_format.changes - changes_before
            session_ids = _session_ids(requests, options.session_id)
            connected = Sender(self.client, bodies, Clock(), options.timeout, session_ids)
            chosen = checks.choose_for_verification(requests, options.verify)
            alone = await _send_alone(chosen, connected, self.progress)
            connected.responses.clear()
            loop_delays = await _send(options, requests, connected, self.progress)
        by_number = {request.number: request for request in requests}
        metrics = [request_metrics.compute(by_number[response.number], response) for response in connected.responses]
        checks.judge(metrics, by_number, alone)
        checks.leave_out(metrics, options, by_number, alone)
        notes = checks.count_visual_tokens(metrics, options.tokens_per_visual)
        notes += checks.verification_notes(chosen, requests, options.verify)
        return RunResult(metrics, loop_delays, changes, notes, {number: each.answer for number, each in alone.items()})

    def _write_bodies(self, requests: Sequence[ScheduledRequest], bodies: BodyStore) -> list[ScheduledRequest]:
        """Writes the bodies of the requests. Returns the requests that will be sent: all, or, with the option
        skip_unsupported, those that the server's API can express.
        """
        sent = []
        for index, request in enumerate(requests):
            if self.options.skip_unsupported and (missing := self.request_format.unsupported(request)):
                change = f"requests left out, for want of {' and '.join(sorted(missing))}"
                self.request_format.changes[change] += 1
                continue
            if index % PREPARED == 0:
                self.progress.update(f"preparing {index}/{len(requests)}")
            bodies.add(request.number, self.request_format.body(request))
            sent.append(request)
        bodies.flush()
        return sent


def _session_ids(requests: Sequence[ScheduledRequest], kind: str) -> dict[int, str]:
    """The X-Session-ID of each request by its number; kind is one of options.SESSION_IDS."""
    if kind == "none":
        return {}
    return {each.number: each.session if kind == "shared" else f"{each.session}-{each.number}" for each in requests}


async def _send_alone(
    requests: Sequence[ScheduledRequest], connected: Sender, progress: Progress
) -> dict[int, RequestMetrics]:
    """Sends the requests one after the other. Returns the metrics of each, by its number."""
    metrics = {}
    connected.clock.start()
    for count, request in enumerate(requests, 1):
        progress.update(f"asking alone {count}/{len(requests)}")
        response = await connected.send(request.number, connected.clock.now())
        metrics[request.number] = request_metrics.compute(request, response)
    return metrics


async def _send(
    options: Options, requests: Sequence[ScheduledRequest], connected: Sender, progress: Progress
) -> list[float]:
    """Sends the requests under load. Returns the delays, in seconds, with which the event loop woke."""
    heartbeat = load_loop.Heartbeat()

    def progress_line() -> str:
        return load_loop.progress_line(connected.clock.now(), connected.responses, len(requests))

    watchers = [asyncio.create_task(heartbeat.beat()), asyncio.create_task(progress.follow(progress_line))]
    try:
        if options.arrivals == "closed":
            await load_loop.closed_loop(requests, connected, options.concurrency, options.duration, options.drain)
        else:
            await load_loop.open_loop(requests, connected, options.drain)
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        progress.clear()
    return heartbeat.delays


async def _search(load: _Load) -> tuple[RunResult, SearchResult]:
    """Searches for the highest rate within every target. Returns the run at that rate, or else the last, and all."""
    runs: dict[float, RunResult] = {}

    async def measure_rate(rate: float) -> SearchPoint:
        load.progress.update(f"point {len(runs) + 1}: {rate:.4g}/s")
        runs[rate] = await load.run(rate, len(runs))
        numbers = aggregate.aggregate_run(runs[rate].requests, load.workload)
        point = rate_search.summarize(rate, numbers, load.workload)
        verdict = "within" if point.met else "not within"
        load.progress.write(f"point {len(runs)}: {rate:.4g}/s {verdict} every target")
        return point

    options = load.options
    search = await rate_search.search(measure_rate, options.rate, options.precision, options.most_points)
    run = runs[search.best_rate]
    run.notes += _too_few_requests(search, load.workload)
    return run, search


def _too_few_requests(search: SearchResult, workload: Workload) -> list[str]:
    """Notes on the classes of which a run of the search had no request, or so few that one miss was too many."""
    notes = []
    for request_class in workload.classes:
        name, target = request_class.name, request_class.target
        fewest = min(point.classes[name].requests if name in point.classes else 0 for point in search.points)
        if fewest == 0 and target.limits:
            notes.append(f"search: a run had no request of {name!r} and counts as not within its target; run longer")
        elif fewest * (1 - target.share) < 1:
            notes.append(
                f"search: a run had only {fewest} requests of {name!r}: one miss decides; a longer run is surer"
            )
    return notes


def write(report: Report, options: Options) -> None:
    """Prints the table, and writes the JSON and the HTML report to their files."""
    print(terminal.render(report))
    if options.json is not None:
        options.json.write_text(report.model_dump_json() + "\n")
    if options.html is not None:
        from llava_interleave_serve.benchmarks.load.reports import html  # noqa: PLC0415 - brings matplotlib

        options.html.write_text(html.render(report))
