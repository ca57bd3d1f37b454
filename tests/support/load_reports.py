"""Reports of made-up runs."""

import random
from typing import Any

from llava_interleave_serve.benchmarks.load.client.server_info import ServerInfo
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.results import report_data
from llava_interleave_serve.benchmarks.load.results.rate_search import Found, Point
from llava_interleave_serve.benchmarks.load.results.report_data import Run
from llava_interleave_serve.benchmarks.load.results.request_metrics import Record
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass, Target, Workload
from tests.support.load_exchanges import record

WORK = Workload(
    name="made up",
    classes=(
        RequestClass(name="text <b>", kind="text", target=Target(ttft=0.4)),
        RequestClass(name="images", kind="images"),
    ),
)


def records(number: int, seed: int = 0) -> list[Record]:
    """Requests of both classes, a tenth of them refused, some repeated, with phases."""
    rng = random.Random(seed)
    made = []
    for at in range(number):
        ttft = rng.uniform(0.1, 0.6)
        gaps = [rng.uniform(0.01, 0.05) for _ in range(20)]
        failed = at % 10 == 9
        made.append(
            record(
                number=at,
                name=WORK.classes[at % 2].name,
                due=0.1 * at,
                repeat=("", "exact")[at % 3 == 0],
                ttft=None if failed else ttft,
                e2e=None if failed else ttft + sum(gaps),
                gaps=[] if failed else gaps,
                tokens=21,
                error="429 <busy>" if failed else "",
                retry_after="3" if failed else None,
                phases={} if failed else {"decode": ttft / 4, "prefill": ttft / 2, "total": ttft},
                answer="An answer & more",
                same=at != 4 if at < 8 and not failed else None,
                right=at % 3 > 0 if not failed else None,
            )
        )
    return made


def document(number: int = 60, *, searched: bool = False, seed: int = 0) -> dict[str, Any]:
    run = Run(records(number, seed), [0.001, 0.002], notes=["a note"], alone=dict.fromkeys(range(9), "Another answer"))
    options = Options("http://host:1", "made up", rate=3.0, duration=9.0, verify=9)
    found = None
    if searched:
        shown = report_data.document(options, WORK, FACTS, run, None)
        told = {"ttft": shown["all"]["ttft"], "classes": shown["classes"]}
        found = Found(tuple(Point(rate, rate < 3, told) for rate in (1.0, 2.0, 4.0, 3.0)), 2.0, 3.0)
    return report_data.document(options, WORK, FACTS, run, found)


FACTS = ServerInfo("model", "ours", 49)
