"""The schedule of a run follows from its workload, arrivals and seed."""

from collections import Counter

import pytest

from llava_interleave_serve.benchmarks.load.requests.arrivals import Arrival
from llava_interleave_serve.benchmarks.load.requests.messages import Text
from llava_interleave_serve.benchmarks.load.requests.schedule import build_schedule, group_by_conversation
from llava_interleave_serve.benchmarks.load.workload.media import Media
from llava_interleave_serve.benchmarks.load.workload.schema import Repeat, RequestClass, Workload, WorkloadError

WORK = Workload(
    name="w",
    classes=(
        RequestClass(name="often", kind="text", weight=3),
        RequestClass(name="talk", kind="text", turns=(3,), think=2.0),
    ),
)


def test_request_classes_are_drawn_by_weight() -> None:
    requests = build_schedule(WORK, [Arrival(0.01 * number) for number in range(4000)], 0)
    begun = Counter(request.request_class.name for request in requests if request.turn == 0)
    assert begun["often"] / begun.total() == pytest.approx(0.75, abs=0.03)


def test_turns_are_due_think_seconds_apart_in_the_order_of_time() -> None:
    requests = build_schedule(WORK, [Arrival(0.0, "talk"), Arrival(1.0, "often")], 0)
    due = [(request.request_class.name, request.due) for request in requests]
    assert due == [("talk", 0), ("often", 1), ("talk", 2), ("talk", 4)]
    turns = [[request.turn for request in conversation] for conversation in group_by_conversation(requests)]
    assert turns == [[0, 1, 2], [0]]


def test_equal_seeds_give_equal_schedules_and_others_do_not() -> None:
    arrivals = [Arrival(0.1 * number) for number in range(20)]
    assert build_schedule(WORK, arrivals, 1) == build_schedule(WORK, arrivals, 1) != build_schedule(WORK, arrivals, 2)


def test_an_unknown_class_of_a_trace_is_an_error() -> None:
    with pytest.raises(WorkloadError, match="no class 'other'"):
        build_schedule(WORK, [Arrival(0.0, "other")], 0)


def test_requests_that_show_the_same_media_are_of_one_session() -> None:
    media = Media(sizes=((16, 16),))
    classes = (
        RequestClass(name="again", kind="images", media=media, visuals=(2,), repeat=Repeat(question=0.4, order=0.4)),
        RequestClass(name="window", kind="frames", media=media, visuals=(2,), repeat=Repeat(sliding=0.8, slide=1)),
    )
    workload = Workload(name="w", classes=classes)
    requests = build_schedule(workload, [Arrival(0.1 * number) for number in range(60)], 3)
    assert all(request.session.isascii() for request in requests)
    sessions: dict[str, list[str]] = {}
    for request in requests:
        sessions.setdefault(request.session, []).append(request.repeat)
    assert len(sessions) == sum(request.repeat == "" for request in requests)
    assert all(repeats.index("") == 0 and repeats.count("") == 1 for repeats in sessions.values())
    pictures: dict[str, set[str]] = {}
    for request in requests:
        if request.request_class.name == "again":
            shown = frozenset(str(part) for part in request.content.messages[0].parts if not isinstance(part, Text))
            pictures.setdefault(request.session, set()).update(shown)
    assert len(set.union(*pictures.values())) == sum(map(len, pictures.values()))  # no two sessions share a picture
    assert all(len(shown) == 2 for shown in pictures.values())
