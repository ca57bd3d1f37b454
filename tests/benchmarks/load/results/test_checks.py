"""Checks judge answers and choose the requests that count."""

from pathlib import Path

from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.results import checks
from llava_interleave_serve.benchmarks.load.workload.media import Media
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass
from tests.support.load.exchanges import ask, record
from tests.support.load.reports import report


def test_answers_are_judged_against_known_answers_and_answers_given_alone() -> None:
    kind = RequestClass(name="a", kind="images", visuals=(2,), ask="which")
    asks = {number: ask(number, kind, right="Image 2.") for number in range(4)}
    records = [
        record(number=0, answer="Image 2."),
        record(number=1, answer="Image 1."),
        record(number=2, error="timeout", answer="Ima"),
        record(number=3, answer="Image 2."),
    ]
    alone = {0: record(answer="Image 2."), 1: record(answer="Image 2."), 2: record(answer="Image 2.")}
    checks.judge(records, asks, alone)
    assert [request.right for request in records] == [True, False, None, True]
    assert [request.same for request in records] == [True, False, None, None]


def test_requests_of_the_warm_up_and_those_asked_before_do_not_count() -> None:
    records = [record(number=number, due=float(number)) for number in (3, 2, 1, 0, 4)]
    schedule = {number: ask(number) for number in range(5)}
    checks.leave_out(records, Options("", "", warmup=1.5, warmup_requests=3), schedule, {0, 3})
    reasons = {request.number: request.left_out for request in records}
    assert reasons == {0: "warm-up", 1: "warm-up", 2: "warm-up", 3: "of a session asked alone before", 4: ""}


def test_no_request_of_a_session_counts_of_which_one_was_asked_before() -> None:
    records = [record(number=number, due=float(number)) for number in range(6)]
    schedule = {number: ask(number, session="abacba"[number]) for number in range(6)}
    checks.leave_out(records, Options("", ""), schedule, {2})
    assert [request.number for request in records if not request.left_out] == [1, 3, 4]


def test_visual_tokens_are_estimated_only_if_the_server_does_not_report_them() -> None:
    records = [record(images=2, frames=1), record(images=1, visual_tokens=7), record()]
    assert "not known" in checks.count_visual_tokens(records, None)[0]
    assert "estimate" in checks.count_visual_tokens(records, 49)[0]
    assert [request.visual_tokens for request in records] == [147, 7, None]
    assert checks.count_visual_tokens(records, 49) == []


def test_requests_of_every_class_but_at_most_half_of_all_are_verified_alone() -> None:
    kinds = [RequestClass(name=name, kind="text") for name in "abc"]
    asks = [ask(number, kinds[0 if number < 40 else 1 + number % 2]) for number in range(50)]
    chosen = checks.choose_for_verification(asks, 9)
    assert [sum(scheduled.request_class.name == name for scheduled in chosen) for name in "abc"] == [3, 3, 3]
    assert chosen == sorted(chosen, key=lambda scheduled: scheduled.due)
    assert len(checks.choose_for_verification(asks[:6], 9)) == 3
    assert checks.choose_for_verification(asks, 0) == []


def test_the_sessions_of_verified_requests_have_at_most_half_of_all_requests() -> None:
    asks = [ask(number, session=f"{number % 3}" if number < 24 else None) for number in range(40)]
    chosen = {scheduled.session for scheduled in checks.choose_for_verification(asks, 20)}
    assert sum(scheduled.session in chosen for scheduled in asks) == 20
    assert checks.choose_for_verification([ask(number, session="the only") for number in range(6)], 3) == []


def test_a_verification_of_fewer_requests_than_asked_for_is_noted() -> None:
    asks = [ask(number, session="the only") for number in range(6)]
    assert checks.verification_notes(asks[:3], asks, 24) == []
    (note,) = checks.verification_notes([], asks, 1)
    assert "only 0 requests were asked alone" in note
    assert checks.verification_notes([], asks, 0) == []


def test_a_verification_of_a_folder_is_noted(tmp_path: Path) -> None:
    kind = RequestClass(name="a", kind="images", media=Media(source="folder", folder=str(tmp_path)))
    asks = [ask(number, kind) for number in range(4)]
    (note,) = checks.verification_notes(asks[:2], asks, 2)
    assert "files of media.folder" in note


def test_answers_that_differ_under_load_are_reported() -> None:
    verification = report().verification
    assert verification is not None
    assert (verification.sent_alone, verification.compared, verification.same) == (9, 8, 7)
    (different,) = verification.different
    assert different.model_dump() == {
        "number": 4, "class_name": "text <b>", "alone": "Another answer", "under_load": "An answer & more",
    }  # fmt: skip


def test_known_answers_are_counted_by_class() -> None:
    known = report().known_answers
    assert known is not None
    assert known.answered == 54
    assert known.right == sum(count.right for count in known.classes.values())
