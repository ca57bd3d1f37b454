"""Whether answers are right, and which measures count."""

from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.results import checks
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass
from tests.support.load_exchanges import ask, record


def test_probes_and_verified_answers_are_judged() -> None:
    kind = RequestClass(name="a", kind="images", visuals=(2,), ask="which")
    asks = {at: ask(at, kind, right="Image 2.") for at in range(4)}
    records = [
        record(number=0, answer="Image 2."),
        record(number=1, answer="Image 1."),
        record(number=2, error="timeout", answer="Ima"),
        record(number=3, answer="Image 2."),
    ]
    alone = {0: record(answer="Image 2."), 1: record(answer="Image 2."), 2: record(answer="Image 2.")}
    checks.judge(records, asks, alone)
    assert [one.right for one in records] == [True, False, None, True]
    assert [one.same for one in records] == [True, False, None, None]


def test_the_warm_up_and_what_was_asked_before_do_not_count() -> None:
    records = [record(number=at, due=float(at)) for at in (3, 2, 1, 0, 4)]
    checks.leave_out(records, Options("", "", warmup=1.5, warmup_requests=3), {0, 3})
    why = {one.number: one.left_out for one in records}
    assert why == {0: "warm-up", 1: "warm-up", 2: "warm-up", 3: "asked alone before", 4: ""}


def test_visual_tokens_are_estimated_only_where_the_server_is_silent() -> None:
    records = [record(images=2, frames=1), record(images=1, visual_tokens=7), record()]
    assert "not known" in checks.count_visual_tokens(records, None)[0]
    assert "estimate" in checks.count_visual_tokens(records, 49)[0]
    assert [one.visual_tokens for one in records] == [147, 7, None]
    assert checks.count_visual_tokens(records, 49) == []


def test_every_class_is_asked_alone_and_never_more_than_half() -> None:
    kinds = [RequestClass(name=name, kind="text") for name in "abc"]
    asks = [ask(at, kinds[0 if at < 40 else 1 + at % 2]) for at in range(50)]
    chosen = checks.choose_for_verification(asks, 9)
    assert [sum(one.request_class.name == name for one in chosen) for name in "abc"] == [3, 3, 3]
    assert chosen == sorted(chosen, key=lambda one: one.due)
    assert len(checks.choose_for_verification(asks[:6], 9)) == 3
    assert checks.choose_for_verification(asks, 0) == []
