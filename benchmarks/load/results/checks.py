"""Checks of a run's answers (right, same as alone), and the choice of the requests that count."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.requests.known_answers import is_right
from llava_interleave_serve.benchmarks.load.requests.schedule import ScheduledRequest
from llava_interleave_serve.benchmarks.load.results.report_model import ReportModel
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics
from llava_interleave_serve.benchmarks.load.workload.schema import ORDER_MATTERS

WARM_UP = "warm-up"
SENT_ALONE = "of a session asked alone before"
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


def judge(
    requests: Sequence[RequestMetrics], schedule: Mapping[int, ScheduledRequest], alone: Mapping[int, RequestMetrics]
) -> None:
    """Fills in `same`, where the request was sent alone before, and `right`, where the right answer is known.

    `schedule` and `alone` are by request number.
    """
    for request in requests:
        scheduled = schedule[request.number]
        if request.ok and scheduled.content.known_answer is not None:
            whole = scheduled.request_class.ask not in ORDER_MATTERS
            request.right = is_right(request.answer, scheduled.content.known_answer, whole=whole)
        if request.number in alone:
            request.same = same_answer(request, alone[request.number])


def leave_out(
    requests: Sequence[RequestMetrics],
    options: Options,
    schedule: Mapping[int, ScheduledRequest],
    sent_alone: Collection[int],
) -> None:
    """Fills in `left_out`: requests of the warm-up, and those of a session of which a request was sent alone before.

    The server may still have the session's media and prompts in its caches. `schedule` is by request number;
    `sent_alone` has the numbers of the requests that were sent alone.
    """
    sessions = {schedule[number].session for number in sent_alone}
    for index, request in enumerate(sorted(requests, key=lambda request: request.due)):
        if request.due < options.warmup or index < options.warmup_requests:
            request.left_out = WARM_UP
        elif schedule[request.number].session in sessions:
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


def choose_for_verification(requests: Sequence[ScheduledRequest], number: int) -> list[ScheduledRequest]:
    """Up to `number` of the requests: the classes in turn, each class evenly over the run.

    Their sessions have at most half of all requests, so that the others can be measured.
    """
    number = min(number, len(requests) // 2)
    groups: dict[str, list[ScheduledRequest]] = {}
    for request in requests:
        groups.setdefault(request.request_class.name, []).append(request)
    share = -(-number // max(len(groups), 1))
    spread = [group[:: max(1, len(group) // max(share, 1))] for group in groups.values()]
    longest = max(map(len, spread), default=0)
    in_turn = [group[index] for index in range(longest) for group in spread if index < len(group)]
    unused = Counter(request.session for request in requests)
    chosen: list[ScheduledRequest] = []
    for request in in_turn:
        if len(chosen) < number and unused.total() - unused[request.session] >= len(requests) / 2:
            chosen.append(request)
            del unused[request.session]
    return sorted(chosen, key=lambda request: request.due)


def verification_notes(
    chosen: Sequence[ScheduledRequest], requests: Sequence[ScheduledRequest], number: int
) -> list[str]:
    """Notes on a verification of `chosen`, if `number` of the requests were to be verified."""
    notes = []
    if len(chosen) < min(number, len(requests) // 2):
        notes.append(
            f"verify: only {len(chosen)} requests were asked alone, since those that show the same media do not count; "
            "a longer run has more"
        )
    if any(request.request_class.media.source == "folder" for request in chosen):
        notes.append("verify: the server may know files of media.folder that were asked alone; their latencies count")
    return notes


def same_answer(under_load: RequestMetrics, alone: RequestMetrics) -> bool | None:
    """True if a request was answered under load as it was alone; None unless it was answered both times."""
    return under_load.answer == alone.answer if under_load.ok and alone.ok else None
