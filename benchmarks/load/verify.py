"""Whether answers stay what they are when nothing else is being answered."""

from collections.abc import Sequence

from llava_interleave_serve.benchmarks.load.client.sender import Sender
from llava_interleave_serve.benchmarks.load.progress import Progress
from llava_interleave_serve.benchmarks.load.requests.schedule import ScheduledRequest
from llava_interleave_serve.benchmarks.load.results import request_metrics
from llava_interleave_serve.benchmarks.load.results.request_metrics import Record


async def asked_alone(asks: Sequence[ScheduledRequest], sender: Sender, progress: Progress) -> dict[int, Record]:
    """The answers to the requests when each is asked alone, by number."""
    answers = {}
    sender.clock.begin()
    for at, ask in enumerate(asks, 1):
        progress.say(f"asking alone {at}/{len(asks)}")
        answers[ask.number] = request_metrics.read(ask, await sender.send(ask.number, sender.clock.now()))
    return answers
