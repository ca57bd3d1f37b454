"""The schedule of a run: every request and when it is due, fixed before the first is sent."""

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from llava_interleave_serve.benchmarks.load.requests.arrivals import Arrival
from llava_interleave_serve.benchmarks.load.requests.conversations import ConversationGenerator, RandomTextMaker
from llava_interleave_serve.benchmarks.load.requests.known_answers import KnownAnswerMaker
from llava_interleave_serve.benchmarks.load.requests.messages import Turn
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass, Workload


@dataclass(frozen=True, slots=True)
class ScheduledRequest:
    """One request of a run."""

    number: int
    """Its number in the run."""
    request_class: RequestClass
    conversation: int
    """Number of the conversation."""
    turn: int
    """Index of the turn in the conversation."""
    due: float
    """Seconds from the start at which to send it. A closed loop has no such times: it sends when an answer ends."""
    content: Turn
    repeat: str = ""
    """Which part of an earlier conversation it repeats, as workload.schema.Repeat names it; empty for new media."""
    session: str = ""
    """Name of the conversations that show the same media, this one's among them; ASCII."""

    @property
    def images(self) -> int:
        """The number of images and camera views."""
        return sum(message.images for message in self.content.messages)

    @property
    def frames(self) -> int:
        """The number of video frames."""
        return sum(message.frames for message in self.content.messages)


def conversation_generator(request_class: RequestClass, seed: str) -> ConversationGenerator[Any]:
    """The generator of a class's conversations, all of which follow from the seed."""
    rng = random.Random(seed)
    maker = RandomTextMaker(request_class, rng) if request_class.ask is None else KnownAnswerMaker(request_class, rng)
    return ConversationGenerator[Any](request_class, maker, rng)


def build_schedule(workload: Workload, arrivals: Iterable[Arrival], seed: int) -> list[ScheduledRequest]:
    """The requests of a run, by the time they are due.

    Each arrival begins a conversation of the class it names, or else of one drawn by weight; the conversation's further
    turns are due `think` seconds apart, whether or not the answer has come. Raises WorkloadError for an unknown class.
    """
    rng = random.Random(f"classes {seed}")
    generators = {
        request_class.name: conversation_generator(request_class, f"{request_class.name} {seed}")
        for request_class in workload.classes
    }
    weights = [request_class.weight for request_class in workload.classes]
    positions = {request_class.name: index for index, request_class in enumerate(workload.classes)}
    numbers = itertools.count()
    requests: list[ScheduledRequest] = []
    for conversation_number, (time, name) in enumerate(arrivals):
        request_class = rng.choices(workload.classes, weights)[0] if name is None else workload.class_named(name)
        conversation = generators[request_class.name].generate()
        requests += [
            ScheduledRequest(
                number=next(numbers),
                request_class=request_class,
                conversation=conversation_number,
                turn=index,
                due=time + index * request_class.think,
                content=turn,
                repeat=conversation.repeat,
                session=f"bench-{seed}-{positions[request_class.name]}-{conversation.session}",
            )
            for index, turn in enumerate(conversation.turns)
        ]
    return sorted(requests, key=lambda request: request.due)


def group_by_conversation(requests: Sequence[ScheduledRequest]) -> list[list[ScheduledRequest]]:
    """The requests of each conversation, turns in order."""
    groups: dict[int, list[ScheduledRequest]] = {}
    for request in sorted(requests, key=lambda request: (request.conversation, request.turn)):
        groups.setdefault(request.conversation, []).append(request)
    return list(groups.values())
