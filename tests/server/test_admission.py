"""Admission reserves capacity for requests, or refuses them at once."""

from contextlib import AbstractContextManager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_interleave_serve.server.admission import ACTIVE_SECONDS, Admission, Load
from llava_interleave_serve.server.errors import LimitExceeded, Overloaded, ServeError
from llava_interleave_serve.server.limits import Limits


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def limits(**changes: Any) -> Limits:
    small: dict[str, Any] = {
        "max_requests": 4,
        "max_inflight_visuals": 100,
        "max_visuals": 100,
        "max_inflight_visual_tokens": 1000,
    }
    return Limits(**(small | changes))


def test_capacity_of_a_request_is_released_at_its_end_however_it_ends() -> None:
    admission = Admission(limits())
    for fault in (None, RuntimeError()):
        entered = admission.reserve("a", 10)
        entered.__enter__().grow(visuals=3, visual_tokens=30)
        assert admission.load == Load(1, 10, 3, 30)
        assert not entered.__exit__(type(fault) if fault else None, fault, None)
        assert admission.load == Load()


def test_a_full_server_refuses_at_once_with_a_time_to_retry_after() -> None:
    clock = Clock()
    admission = Admission(limits(max_requests=1), clock)
    for _ in range(40):
        with admission.reserve("a", 0):
            clock.now += 7.0
    with admission.reserve("a", 0), pytest.raises(Overloaded) as refusal, admission.reserve("a", 0):
        pass
    assert refusal.value.retry_after == 7
    assert "requests" in refusal.value.message
    with admission.reserve("a", 0):
        pass


@pytest.mark.parametrize(
    "more", [{"bytes": 2 << 30}, {"visuals": 101}, {"visual_tokens": 1001}], ids=["bytes", "visuals", "tokens"]
)
def test_a_request_larger_than_the_whole_capacity_exceeds_a_limit(more: dict[str, int]) -> None:
    with Admission(limits()).reserve("a", 0) as reservation, pytest.raises(LimitExceeded):
        reservation.grow(**more)


def test_a_refused_reservation_leaves_existing_reservations_unchanged() -> None:
    admission = Admission(limits())
    with admission.reserve("a", 0) as own, admission.reserve("b", 0) as other:
        own.grow(visuals=60)
        with pytest.raises(Overloaded, match="visuals"):
            other.grow(visuals=60)
        assert admission.load == Load(2, 0, 60, 0)
        other.grow(visuals=40)


def test_the_only_active_key_may_use_the_whole_capacity() -> None:
    admission = Admission(limits())
    with admission.reserve("a", 0), admission.reserve("a", 0), admission.reserve("a", 0), admission.reserve("a", 0):
        assert admission.load.requests == 4


def test_a_key_over_its_share_is_refused_while_another_key_is_active() -> None:
    clock = Clock()
    admission = Admission(limits(), clock)
    first = [admission.reserve("a", 0) for _ in range(4)]
    for place in first:
        place.__enter__()
    with pytest.raises(Overloaded, match="server is full"), admission.reserve("b", 0):
        pass
    first.pop().__exit__(None, None, None)
    with pytest.raises(Overloaded, match="share"), admission.reserve("a", 0):  # what is free is kept for b
        pass
    with admission.reserve("b", 0):
        pass
    clock.now += ACTIVE_SECONDS + 1
    with admission.reserve("a", 0):  # b has gone
        pass


def test_a_quota_holds_for_the_only_active_key_but_not_for_its_only_request() -> None:
    admission = Admission(limits(max_key_share=0.5))
    with admission.reserve("a", 0) as reservation:
        reservation.grow(visuals=90)
    with (
        admission.reserve("a", 0),
        admission.reserve("a", 0),
        pytest.raises(Overloaded, match="share"),
        admission.reserve("a", 0),
    ):
        pass


def test_a_fetched_file_counts_as_its_keys_until_it_is_decoded() -> None:
    admission = Admission(limits(max_inflight_bytes=100, max_body_bytes=100))
    with admission.reserve("a", 10), admission.reserve("a", 10), admission.reserve("b", 0):
        with admission.reserve_media("a") as file:
            for _ in range(3):
                file.grow(bytes=10)
            assert admission.load == Load(3, 50, 0, 0)
            with pytest.raises(Overloaded, match="this key has all the bytes of its share"):
                file.grow(bytes=1)
            with admission.reserve_media("b") as other:
                other.grow(bytes=50)
        assert admission.load == Load(3, 20, 0, 0)
    assert admission.load == Load()


def test_the_files_of_a_keys_only_request_may_exceed_its_share() -> None:
    admission = Admission(limits(max_inflight_bytes=100, max_body_bytes=100))
    with admission.reserve("a", 10), admission.reserve("b", 10):
        with admission.reserve_media("a") as file:
            file.grow(bytes=80)
        with admission.reserve_media("a") as file, pytest.raises(Overloaded, match="server is full"):
            file.grow(bytes=81)
    with admission.reserve("a", 10), admission.reserve_media("a") as file, pytest.raises(LimitExceeded, match="room"):
        file.grow(bytes=91)


def test_a_file_outlives_the_request_that_it_was_first_fetched_for() -> None:
    admission = Admission(limits())
    request = admission.reserve("a", 10)
    request.__enter__()
    with admission.reserve_media("a") as file:
        file.grow(bytes=5)
        request.__exit__(None, None, None)
        assert admission.load == Load(bytes=5)
        file.grow(bytes=5)
    assert admission.load == Load()


@pytest.mark.parametrize("seconds", [2.0, 8.0, 20.0, 60.0, 90.0])
@pytest.mark.parametrize("greedy", [1, 3], ids=["one greedy key", "three"])
def test_a_key_that_asks_again_when_it_is_told_to_is_admitted_within_three_tries(seconds: float, greedy: int) -> None:
    """Greedy keys ask ten times a second, the polite one as Retry-After says, for an hour."""
    clock = Clock()
    admission = Admission(limits(max_requests=8), clock)
    inside: list[tuple[float, AbstractContextManager[object]]] = []

    def ask(key: str) -> int:
        """The seconds until the key may ask again; 0 if its request is admitted."""
        request = admission.reserve(key, 0)
        try:
            request.__enter__()
        except Overloaded as refusal:
            return refusal.retry_after or 0
        inside.append((clock.now + seconds, request))
        return 0

    tries, asks_again = 0, 100.0 + 3.5 * seconds  # once the server knows how long its requests take
    for tick in range(36_000):
        clock.now = 100.0 + tick / 10
        for ended in [each for each in inside if each[0] <= clock.now]:
            inside.remove(ended)
            ended[1].__exit__(None, None, None)
        for number in range(greedy):
            ask(f"greedy {number}")
        if clock.now >= asks_again:
            tries += 1
            wait = ask("polite")
            asks_again = clock.now + (wait or seconds)
            tries = tries if wait else 0
            assert tries < 3


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.booleans()), max_size=40))
def test_reservations_never_exceed_the_capacity_and_are_all_released(events: list[tuple[str, int, bool]]) -> None:
    admission = Admission(limits())
    inside = []
    for key, visuals, leaves in events:
        entered = admission.reserve(key, 0)
        try:
            reservation = entered.__enter__()
            inside.append(entered)
            reservation.grow(visuals=visuals)
        except ServeError:
            pass
        assert admission.load.requests <= 4
        assert admission.load.visuals <= 100
        if leaves and inside:
            inside.pop(0).__exit__(None, None, None)
    for entered in inside:
        entered.__exit__(None, None, None)
    assert admission.load == Load()
