"""A measurement as one JSON object, from which tables and reports are made.

    schema       1
    when         ISO time of the end, UTC
    server       url, model, dialect (ours, openai), tokens_per_visual (null if not known)
    workload     name, description, seed, classes: name, kind, weight and target of each
    arrivals     process (poisson, gamma, constant, ramp, trace, closed) and its numbers; duration, requests
    client       lag: how late requests were sent; loop: how late the client's event loop woke; warning, or ""
    notes        what was sent otherwise than the workload means, was left out, or is estimated; a sentence each
    window       seconds that what counts took
    left_out     how many requests count in no measure, by why
    all          numbers of all requests that count, see below
    classes      the same by class, each with target (null if none) and met
    verify       asked: requests asked alone before; of: those answered both then and under load; same: how many of
                 these were answered alike; different: up to 10 of the others, with both answers; null if not asked for
    probes       of, right, by class; null if the workload asks nothing whose answer is known
    search       low, high: the rates that bracket the highest one; precision; points: rate, met, seconds, numbers of
                 all, and good_share and met by class, each in the order measured; null if not searched for.
                 Everything else then is of the run at `low` (or of the last, if none was met).
    requests     one object a request: the fields of record.Record that are not empty

Numbers: requests, answered, errors (by kind), retry_after (values seen), good, good_share, good_rate; ttft, itl, tpot,
e2e and each of `phases`: p50, p90, p99, mean, max, n; rates a second: requests (answered), offered, tokens,
prompt_tokens, images, frames, visual_tokens; repeats: ttft by how the media had been shown before. Seconds throughout.
A latency counts from when the request was due. Its quantiles are of answered requests; goodput is of all.
"""

import dataclasses
import datetime
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from llava_interleave_serve.benchmarks.load.client.server_info import ServerInfo
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.results import aggregate, health
from llava_interleave_serve.benchmarks.load.results.rate_search import Found
from llava_interleave_serve.benchmarks.load.results.request_metrics import Record
from llava_interleave_serve.benchmarks.load.workload.schema import Workload

SCHEMA = 1
SHOWN_DIFFERENCES = 10
DIGITS = 6


@dataclasses.dataclass
class Run:
    """The outcome of one run of the load."""

    records: list[Record]
    """The metrics of each request that was sent."""
    loop_delays: list[float]
    """Delays, in seconds, with which the client's event loop woke: one for each beat."""
    changes: Counter[str] = field(default_factory=Counter)
    """Number of parts and requests that were not sent as the workload means them, by what became of them."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the report."""
    alone: dict[int, str] = field(default_factory=dict)
    """The answers of the requests that were sent alone before, by the request's number."""


class NotAReport(ValueError):
    """A file that is no report of this schema."""


def document(options: Options, workload: Workload, facts: ServerInfo, run: Run, found: Found | None) -> dict[str, Any]:
    """The measurement as described above."""
    return {
        "schema": SCHEMA,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "server": {"url": options.url, **dataclasses.asdict(facts)},
        "workload": _workload(workload, options),
        "arrivals": options.arrival_settings,
        "client": health.of(run.records, run.loop_delays),
        "notes": [*(f"{number} x {what}" for what, number in run.changes.items()), *run.notes],
        **aggregate.of(run.records, workload),
        "verify": _verified(run) if options.verify else None,
        "probes": _probes(run.records),
        "search": None if found is None else _search(found, options),
        "requests": [_row(record) for record in run.records],
    }


def _workload(workload: Workload, options: Options) -> dict[str, Any]:
    classes = [
        {"name": kind.name, "kind": kind.kind, "weight": kind.weight, "target": kind.target.limits or None}
        for kind in workload.classes
    ]
    seed = workload.seed if options.seed is None else options.seed
    return {"name": workload.name, "description": workload.description, "seed": seed, "classes": classes}


def _verified(run: Run) -> dict[str, Any]:
    known = [record for record in run.records if record.same is not None]
    other = [record for record in known if not record.same]
    different = [
        {"number": one.number, "class": one.name, "alone": run.alone[one.number], "under_load": one.answer}
        for one in other[:SHOWN_DIFFERENCES]
    ]
    return {"asked": len(run.alone), "of": len(known), "same": len(known) - len(other), "different": different}


def _probes(records: Sequence[Record]) -> dict[str, Any] | None:
    asked, right = Counter[str](), Counter[str]()
    for record in records:
        if record.right is not None:
            asked[record.name] += 1
            right[record.name] += record.right
    if not asked:
        return None
    classes = {name: {"of": asked[name], "right": right[name]} for name in asked}
    return {"of": asked.total(), "right": right.total(), "classes": classes}


def _search(found: Found, options: Options) -> dict[str, Any]:
    points = [{"rate": point.rate, "met": point.met, **point.shown} for point in found.points]
    return {"low": found.low, "high": found.high, "precision": options.precision, "points": points}


def _row(record: Record) -> dict[str, Any]:
    row = {name: _rounded(value) for name, value in dataclasses.asdict(record).items()}
    return {name: value for name, value in row.items() if value is not None and value not in ("", [], {})}


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, DIGITS)
        case list():
            return [_rounded(one) for one in value]
        case Mapping():
            return {name: _rounded(one) for name, one in value.items()}
        case _:
            return value


def read(file: Path) -> dict[str, Any]:
    """A report written before. Raises NotAReport."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise NotAReport(f"{file}: {error}") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise NotAReport(f"{file} is no report of this tool (schema {SCHEMA})")
    return content
