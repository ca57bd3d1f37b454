"""Whether answers stay what they are when nothing else is being answered."""

from collections.abc import Sequence

from llava_interleave_serve.benchmarks.load.client.sender import Sender
from llava_interleave_serve.benchmarks.load.progress import Progress
from llava_interleave_serve.benchmarks.load.requests.schedule import Ask
from llava_interleave_serve.benchmarks.load.results import request_metrics
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics


def chosen(asks: Sequence[Ask], number: int) -> list[Ask]:
    """Up to `number` of the requests, but at most half: the classes in turn, in each from its whole run evenly."""
    number = min(number, len(asks) // 2)
    groups: dict[str, list[Ask]] = {}
    for ask in asks:
        groups.setdefault(ask.kind.name, []).append(ask)
    share = -(-number // max(len(groups), 1))
    spread = [group[:: max(1, len(group) // max(share, 1))] for group in groups.values()]
    turns = [group[at] for at in range(max(map(len, spread), default=0)) for group in spread if at < len(group)]
    return sorted(turns[:number], key=lambda ask: ask.due)


async def asked_alone(asks: Sequence[Ask], sender: Sender, progress: Progress) -> dict[int, RequestMetrics]:
    """The answers to the requests when each is asked alone, by number."""
    answers = {}
    sender.clock.begin()
    for at, ask in enumerate(asks, 1):
        progress.say(f"asking alone {at}/{len(asks)}")
        answers[ask.number] = request_metrics.compute(ask, await sender.send(ask.number, sender.clock.now()))
    return answers


def compare(record: RequestMetrics, alone: RequestMetrics) -> bool | None:
    """Whether both answers are the same; None if there is one at most."""
    return record.answer == alone.answer if record.ok and alone.ok else None
