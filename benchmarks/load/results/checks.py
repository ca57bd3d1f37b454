"""What a run's records are worth: whether answers are right, and which measures count."""

from collections.abc import Mapping, Sequence

from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.requests.known_answers import is_right
from llava_interleave_serve.benchmarks.load.requests.schedule import ScheduledRequest
from llava_interleave_serve.benchmarks.load.results.request_metrics import Record
from llava_interleave_serve.benchmarks.load.workload.schema import ORDER_MATTERS

WARM_UP = "warm-up"
ASKED_BEFORE = "asked alone before"


def judge(records: Sequence[Record], asks: Mapping[int, ScheduledRequest], alone: Mapping[int, Record]) -> None:
    """Fills in `same`, where the request was asked alone before, and `right`, where the right answer is known."""
    for record in records:
        ask = asks[record.number]
        if record.ok and ask.content.known_answer is not None:
            record.right = is_right(
                record.answer, ask.content.known_answer, whole=ask.request_class.ask not in ORDER_MATTERS
            )
        if record.number in alone:
            record.same = same_answer(record, alone[record.number])


def leave_out(records: Sequence[Record], options: Options, asked_before: set[int]) -> None:
    """Fills in `left_out`: what is due in the warm-up, and what the server knows from having been asked it before."""
    for at, record in enumerate(sorted(records, key=lambda record: record.due)):
        if record.due < options.warmup or at < options.warmup_requests:
            record.left_out = WARM_UP
        elif record.number in asked_before:
            record.left_out = ASKED_BEFORE


def count_visual_tokens(records: Sequence[Record], tokens_per_visual: int | None) -> list[str]:
    """Fills in `visual_tokens` where the server did not say; tells what was estimated or is not known."""
    silent = [
        record for record in records if record.ok and record.visual_tokens is None and record.images + record.frames
    ]
    if not silent:
        return []
    if tokens_per_visual is None:
        return ["visual tokens are not known: the server does not tell them; --tokens-per-visual would estimate them"]
    for record in silent:
        record.visual_tokens = tokens_per_visual * (record.images + record.frames)
    return [f"visual tokens are an estimate: {tokens_per_visual} for each image and frame, pooled or not"]


def choose_for_verification(requests: Sequence[ScheduledRequest], number: int) -> list[ScheduledRequest]:
    """Up to `number` of the requests, but at most half: the classes in turn, each class evenly over the run."""
    number = min(number, len(requests) // 2)
    groups: dict[str, list[ScheduledRequest]] = {}
    for request in requests:
        groups.setdefault(request.request_class.name, []).append(request)
    share = -(-number // max(len(groups), 1))
    spread = [group[:: max(1, len(group) // max(share, 1))] for group in groups.values()]
    longest = max(map(len, spread), default=0)
    in_turn = [group[index] for index in range(longest) for group in spread if index < len(group)]
    return sorted(in_turn[:number], key=lambda request: request.due)


def same_answer(record: Record, alone: Record) -> bool | None:
    """True if the request was answered under load as it was alone; None unless it was answered both times."""
    return record.answer == alone.answer if record.ok and alone.ok else None
