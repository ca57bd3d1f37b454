"""On a CPU the sequences of one API key leave the others' their share of each step."""

import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from vllm.v1.core.sched.scheduler import Scheduler

from llava_interleave_serve.model_executor.cpu.fair_scheduler import (
    KEY_SEQUENCES,
    LINGERING,
    STEP_TOKENS,
    FairScheduler,
    held_back,
)


def requests(salt: str, number: int) -> list[Any]:
    return [SimpleNamespace(request_id=f"{salt}{index}", cache_salt=salt) for index in range(number)]


class TestHeldBack:
    def test_a_key_runs_its_share_while_another_that_has_none_counts(self) -> None:
        assert len(held_back(requests("a", 50), 3)) == 50 - KEY_SEQUENCES

    def test_few_sequences_of_several_keys_all_run(self) -> None:
        assert held_back(requests("a", KEY_SEQUENCES) + requests("b", 1), 0) == set()

    @pytest.mark.parametrize(("others", "share"), [(1, KEY_SEQUENCES), (KEY_SEQUENCES + 3, KEY_SEQUENCES + 3)])
    def test_a_key_of_many_sequences_runs_its_share(self, others: int, share: int) -> None:
        held = held_back(requests("a", 32) + requests("b", others), 0)
        assert len(held) == 32 - share
        assert all(each.startswith("a") for each in held)

    def test_two_keys_of_many_sequences_run_equally_many(self) -> None:
        assert held_back(requests("a", 20) + requests("b", 20), 5) == set()

    @pytest.mark.parametrize("number", [5, 7, 32])
    def test_all_sequences_of_a_key_have_equally_many_turns(self, number: int) -> None:
        running = requests("a", number) + requests("b", 1)
        turns = Counter[str]()
        for step in range(1, number + 1):
            turns.update({each.request_id for each in running[:-1]} - held_back(running, step))
        assert set(turns.values()) == {KEY_SEQUENCES}
        assert len(turns) == number


class TestStep:
    """A step around vLLM's own, which admits one request and preempts one."""

    @pytest.fixture
    def scheduler(self, monkeypatch: pytest.MonkeyPatch) -> FairScheduler:
        def schedule(self: Any, throttle_prefills: bool = False) -> Any:
            self.seen, self.seen_room = [each.request_id for each in self.running], self.max_num_active_reqs
            self.seen_tokens = self.max_num_scheduled_tokens
            self.running.append(*requests("new", 1))
            if self.fails:
                raise MemoryError
            if len(self.running) > 1:
                self.running.remove(next(each for each in self.running if each.request_id == self.seen[0]))
            return throttle_prefills

        monkeypatch.setattr(Scheduler, "schedule", schedule)
        scheduler: Any = FairScheduler.__new__(FairScheduler)
        scheduler.current_step, scheduler.max_num_active_reqs, scheduler.fails = 0, 40, False
        scheduler._last_steps, scheduler.waiting, scheduler.max_num_scheduled_tokens = {}, [], 4096
        scheduler.running = requests("a", 6) + requests("b", 1)
        return scheduler  # type: ignore[no-any-return]

    def test_requests_that_are_held_back_keep_their_places(self, scheduler: Any) -> None:
        assert scheduler.schedule(True) is True
        assert scheduler.seen == ["a0", "a1", "a2", "a3", "b0"]
        assert [each.request_id for each in scheduler.running] == ["a1", "a2", "a3", "a4", "a5", "b0", "new0"]

    def test_requests_that_are_held_back_count_as_running(self, scheduler: Any) -> None:
        scheduler.schedule()
        assert scheduler.seen_room == 40 - 2
        assert scheduler.max_num_active_reqs == 40

    def test_none_is_lost_when_a_step_fails(self, scheduler: Any) -> None:
        scheduler.fails = True
        with pytest.raises(MemoryError):
            scheduler.schedule()
        assert len(scheduler.running) == 6 + 1 + 1
        assert scheduler.max_num_active_reqs == 40

    @pytest.mark.parametrize("salt", ["a", None])
    def test_a_step_of_one_key_is_vllms(self, scheduler: Any, salt: str | None) -> None:
        scheduler.running = requests("a", 50)
        for request in scheduler.running:
            request.cache_salt = salt
        scheduler.schedule()
        assert (len(scheduler.seen), scheduler.seen_room, scheduler.seen_tokens) == (50, 40, 4096)

    def test_a_step_of_several_keys_has_few_tokens(self, scheduler: Any) -> None:
        scheduler.schedule()
        assert scheduler.seen_tokens == STEP_TOKENS
        assert scheduler.max_num_scheduled_tokens == 4096

    def test_a_request_that_waits_counts_for_its_key(self, scheduler: Any) -> None:
        scheduler.running, scheduler.waiting = requests("b", 1), requests("a", 1)
        scheduler.schedule()
        assert scheduler.seen_tokens == STEP_TOKENS

    def test_a_key_whose_last_request_has_ended_counts_for_a_while(
        self, scheduler: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: now)
        scheduler.schedule()
        scheduler.running = requests("a", 10)
        now += LINGERING - 0.01
        scheduler.schedule()
        assert scheduler.seen_room == 40 - (10 - KEY_SEQUENCES)
        now += 0.02
        scheduler.running = requests("a", 10)
        scheduler.schedule()
        assert scheduler.seen_room == 40
