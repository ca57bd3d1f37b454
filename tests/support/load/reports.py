"""Reports of made-up runs."""

import random
from typing import Any

from llava_interleave_serve.benchmarks.load.client.server_info import ServerInfo
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.results import aggregate, rate_search, report_data
from llava_interleave_serve.benchmarks.load.results.rate_search import SearchPoint, SearchResult
from llava_interleave_serve.benchmarks.load.results.report_data import Report, RunResult
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass, Target, Workload
from tests.support.load.exchanges import record

WORK = Workload(
    name="made up",
    classes=(
        RequestClass(name="text <b>", kind="text", target=Target(ttft=0.4)),
        RequestClass(name="images", kind="images"),
    ),
)
SERVER = ServerInfo("model", "ours", 49)


def requests(count: int, seed: int = 0) -> list[RequestMetrics]:
    """Requests of both classes, a tenth of them refused, some repeated, with phases."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        ttft = rng.uniform(0.1, 0.6)
        gaps = [rng.uniform(0.01, 0.05) for _ in range(20)]
        failed = number % 10 == 9
        made.append(
            record(
                number=number,
                name=WORK.classes[number % 2].name,
                due=0.1 * number,
                repeat=("", "exact")[number % 3 == 0],
                ttft=None if failed else ttft,
                e2e=None if failed else ttft + sum(gaps),
                gaps=[] if failed else gaps,
                tokens=21,
                error="429 <busy>" if failed else "",
                retry_after="3" if failed else None,
                phases={} if failed else {"decode": ttft / 4, "prefill": ttft / 2, "total": ttft},
                answer="An answer & more",
                same=number != 4 if number < 8 and not failed else None,
                right=number % 3 > 0 if not failed else None,
            )
        )
    return made


def report(count: int = 60, *, searched: bool = False, seed: int = 0) -> Report:
    """The report of a run of `count` requests, nine of which were sent alone before, or of a search of four runs."""
    alone = dict.fromkeys(range(9), "Another answer")
    run = RunResult(requests(count, seed), [0.001, 0.002], notes=["a note"], alone=alone)
    options = Options("http://host:1", "made up", rate=3.0, duration=9.0, verify=9)
    search = search_result(run.requests) if searched else None
    return report_data.build(options, WORK, SERVER, run, search)


def search_result(requests: list[RequestMetrics]) -> SearchResult:
    points = tuple(search_point(rate, rate < 3, requests) for rate in (1.0, 2.0, 4.0, 3.0))
    return SearchResult(low=2.0, high=3.0, precision=0.1, points=points)


def search_point(rate: float, met: bool, requests: list[RequestMetrics] | None = None) -> SearchPoint:
    """A run of a search, which was within every target or was not, whatever its requests."""
    numbers = aggregate.aggregate_run(requests or [], WORK)
    return rate_search.summarize(rate, numbers, WORK).model_copy(update={"met": met})


def with_numbers(report: Report, **changes: Any) -> Report:
    """The report with those numbers of every class and of all requests changed."""
    classes = {name: numbers.model_copy(update=changes) for name, numbers in report.classes.items()}
    return report.model_copy(update={"all": report.all.model_copy(update=changes), "classes": classes})


def with_targets(report: Report, target: aggregate.ClassTarget | None) -> Report:
    """The report with that target of every class."""
    classes = {name: numbers.model_copy(update={"target": target}) for name, numbers in report.classes.items()}
    return report.model_copy(update={"classes": classes})
