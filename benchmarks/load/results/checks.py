"""Checks of a run's answers (right, same as alone), and the choice of the requests that count."""

from collections import Counter
from collections.abc import Mapping, Sequence

from llava_interleave_serve.benchmarks.load import verify
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.requests.schedule import Ask
from llava_interleave_serve.benchmarks.load.requests.scoring import is_right
from llava_interleave_serve.benchmarks.load.results.report_model import ReportModel
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics
from llava_interleave_serve.benchmarks.load.workload.schema import ORDERED

WARM_UP = "warm-up"
SENT_ALONE = "asked alone before"
REPORTED_DIFFERENCES = 10


class DifferentAnswer(ReportModel):
    """A request that was answered otherwise under load than alone."""

    number: int
    """Number of the request."""
    class_name: str
    """Name of its request class."""
    alone: str
    """Answer when nothing else was being answered."""
    under_load: str
    """Answer in the run."""


class Verification(ReportModel):
    """Comparison of answers under load with those to the same requests sent alone before."""

    sent_alone: int
    """Requests that were sent alone before the run."""
    compared: int
    """Requests that were answered both times."""
    same: int
    """Requests whose two answers are equal."""
    different: tuple[DifferentAnswer, ...]
    """The first of the others."""


class RightAnswers(ReportModel):
    """Count of right answers."""

    answered: int
    """Answered requests whose right answer is known."""
    right: int
    """Those that were answered right."""


class KnownAnswers(RightAnswers):
    """Right answers to the questions whose answer is known."""

    classes: dict[str, RightAnswers]
    """The same by request class; classes without such questions are left out."""


def judge(requests: Sequence[RequestMetrics], schedule: Mapping[int, Ask], alone: Mapping[int, RequestMetrics]) -> None:
    """Fills in `same`, where the request was sent alone before, and `right`, where the right answer is known.

    `schedule` and `alone` are by request number.
    """
    for request in requests:
        scheduled = schedule[request.number]
        if request.ok and scheduled.content.right is not None:
            whole = scheduled.kind.ask not in ORDERED
            request.right = is_right(request.answer, scheduled.content.right, whole=whole)
        if request.number in alone:
            request.same = verify.compare(request, alone[request.number])


def leave_out(requests: Sequence[RequestMetrics], options: Options, sent_alone: set[int]) -> None:
    """Fills in `left_out`: requests of the warm-up, and those whose number is in `sent_alone`.

    The server may still have the latter in its caches.
    """
    for index, request in enumerate(sorted(requests, key=lambda request: request.due)):
        if request.due < options.warmup or index < options.warmup_requests:
            request.left_out = WARM_UP
        elif request.number in sent_alone:
            request.left_out = SENT_ALONE


def count_visual_tokens(requests: Sequence[RequestMetrics], tokens_per_visual: int | None) -> list[str]:
    """Fills in `visual_tokens` where the server did not report them. Returns notes for the report.

    The estimate is `tokens_per_visual` for each image and frame. If that is None, the tokens stay unknown.
    """
    unreported = [
        request
        for request in requests
        if request.ok and request.visual_tokens is None and request.images + request.frames
    ]
    if not unreported:
        return []
    if tokens_per_visual is None:
        return ["visual tokens are not known: the server does not tell them; --tokens-per-visual would estimate them"]
    for request in unreported:
        request.visual_tokens = tokens_per_visual * (request.images + request.frames)
    return [f"visual tokens are an estimate: {tokens_per_visual} for each image and frame, pooled or not"]


def verification(requests: Sequence[RequestMetrics], alone: Mapping[int, str]) -> Verification:
    """Counts the answers that are the same as alone. `alone`: the answers of requests sent alone, by number."""
    compared = [request for request in requests if request.same is not None]
    differing = [request for request in compared if not request.same]
    different = tuple(
        DifferentAnswer(
            number=request.number,
            class_name=request.name,
            alone=alone[request.number],
            under_load=request.answer,
        )
        for request in differing[:REPORTED_DIFFERENCES]
    )
    same = len(compared) - len(differing)
    return Verification(sent_alone=len(alone), compared=len(compared), same=same, different=different)


def known_answers(requests: Sequence[RequestMetrics]) -> KnownAnswers | None:
    """Counts the right answers by class; None if no question's right answer is known."""
    answered, right = Counter[str](), Counter[str]()
    for request in requests:
        if request.right is not None:
            answered[request.name] += 1
            right[request.name] += request.right
    if not answered:
        return None
    classes = {name: RightAnswers(answered=answered[name], right=right[name]) for name in answered}
    return KnownAnswers(answered=answered.total(), right=right.total(), classes=classes)
