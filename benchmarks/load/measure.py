"""One run: the plan made, its bodies written, sent, and read."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import httpx

from llava_interleave_serve.benchmarks.load.client import load_loop
from llava_interleave_serve.benchmarks.load.client.body_store import Spool
from llava_interleave_serve.benchmarks.load.client.clock import Clock
from llava_interleave_serve.benchmarks.load.client.request_format import Dialect
from llava_interleave_serve.benchmarks.load.client.sender import Sender
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.progress import Progress
from llava_interleave_serve.benchmarks.load.requests import arrivals, schedule
from llava_interleave_serve.benchmarks.load.requests.schedule import Ask
from llava_interleave_serve.benchmarks.load.results import checks, request_metrics
from llava_interleave_serve.benchmarks.load.results.report_data import RunResult
from llava_interleave_serve.benchmarks.load.verify import asked_alone, chosen
from llava_interleave_serve.benchmarks.load.workload.schema import Workload


def due(options: Options, seed: int) -> list[arrivals.Due]:
    """When conversations begin. In a closed loop all are there from the start. Raises ValueError for a wrong trace."""
    rng = random.Random(f"arrivals {seed}")
    match options.arrivals:
        case "trace":
            assert options.trace is not None  # noqa: S101 - the command line saw to it
            within = [due for due in arrivals.trace(options.trace) if due[0] < (options.duration or float("inf"))]
            return within[: options.requests]
        case "closed":
            return [(0.0, None)] * (options.requests or 0)
        case "constant":
            times = arrivals.constant(options.rate)
        case "gamma":
            times = arrivals.gamma(rng, options.rate, options.cv)
        case "ramp":
            times = arrivals.ramp(rng, options.rate, options.rate_to or options.rate, options.duration or 0.0)
        case _:
            times = arrivals.poisson(rng, options.rate)
    return [(time, None) for time in arrivals.until(times, options.duration, options.requests)]


async def measure(
    options: Options, workload: Workload, seed: int, client: httpx.AsyncClient, dialect: Dialect, progress: Progress
) -> RunResult:
    """Prepares and runs one load. Raises WorkloadError for media that are not there, ValueError for a wrong trace."""
    with Spool() as spool:
        progress.say("preparing")
        asks = schedule.make(workload, due(options, seed), seed)
        before = Counter(dialect.changed)
        asks = await asyncio.to_thread(_spooled, asks, dialect, spool, options.skip_unsupported, progress)
        changed = dialect.changed - before
        clock = Clock()
        sender = Sender(client, spool, clock, options.timeout)
        alone = await asked_alone(chosen(asks, options.verify), sender, progress)
        sender.exchanges.clear()
        late = await _run(options, asks, sender, progress)
        by_number = {ask.number: ask for ask in asks}
        records = [request_metrics.compute(by_number[one.number], one) for one in sender.exchanges]
        checks.judge(records, by_number, alone)
        checks.leave_out(records, options, set(alone))
        notes = checks.count_visual_tokens(records, options.tokens_per_visual)
        return RunResult(records, late, changed, notes, {number: one.answer for number, one in alone.items()})


def _spooled(
    asks: Sequence[Ask], dialect: Dialect, spool: Spool, skip_unsupported: bool, progress: Progress
) -> list[Ask]:
    """Writes the requests' bodies. Gives those that are sent; what the server lacks a part for is not, if so told."""
    sent = []
    for at, ask in enumerate(asks):
        if skip_unsupported and (lacking := dialect.lacks(ask)):
            dialect.changed[f"requests left out, for want of {' and '.join(sorted(lacking))}"] += 1
            continue
        if at % 50 == 0:
            progress.say(f"preparing {at}/{len(asks)}")
        spool.add(ask.number, dialect.body(ask))
        sent.append(ask)
    spool.sealed()
    return sent


async def _run(options: Options, asks: Sequence[Ask], sender: Sender, progress: Progress) -> list[float]:
    heartbeat = load_loop.Heartbeat()
    watching = [
        asyncio.create_task(heartbeat.beat()),
        asyncio.create_task(progress.follow(sender.clock, sender.exchanges, len(asks))),
    ]
    try:
        if options.arrivals == "closed":
            await load_loop.closed_loop(asks, sender, options.concurrency, options.duration, options.drain)
        else:
            await load_loop.open_loop(asks, sender, options.drain)
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        progress.end()
    return heartbeat.late
