"""Two ranks, LoRA and int8 give what one process gives; the command that shows it fails where they do not."""

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llava_interleave_serve.benchmarks.server import answer_comparison, parallel_equivalence, processes
from llava_interleave_serve.benchmarks.server.answer_comparison import Answer, Comparison
from llava_interleave_serve.benchmarks.server.parallel_equivalence import (
    CONFIGURATIONS,
    FLOAT32,
    INT8,
    REFERENCES,
    Answers,
    Checkpoints,
    Configuration,
)

TWO = Configuration("two", "two ranks", "demo", ("--tensor-parallel-size", "2"), "one")


def answer(text: str = "ab", *, off: float = 0.0) -> Answer:
    """An answer of a token for each letter, whose log probabilities are off by so much."""
    tokens = tuple(letter.encode() for letter in text)
    return Answer(text, tokens, tuple({token: -0.5 + off, b"z": -9.0} for token in tokens))


def answered(text: str = "ab", *, off: float = 0.0, encoded: int = 3) -> Answers:
    return Answers([answer(text, off=off)], [answer(text, off=off)], encoded)


def run(monkeypatch: pytest.MonkeyPatch, ask: Callable[[Configuration], Answers], *only: str) -> int:
    """The exit code of the command, with servers that answer so."""
    monkeypatch.setattr(parallel_equivalence, "serve_and_ask", lambda configuration, _: ask(configuration))
    monkeypatch.setattr(sys, "argv", ["parallel_equivalence", *(["--only", *only] if only else [])])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        parallel_equivalence.main()
    return int(str(end.value.code))


def test_equal_answers_end_the_command_with_code_0_and_a_table_of_all_configurations(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, lambda _: answered()) == 0
    *table, last = capsys.readouterr().out.splitlines()
    assert len(table) == 2 + len(CONFIGURATIONS)
    assert all("1 of 1, 1 of 1" in row and "equal" in row for row in table[2:])
    summary = json.loads(last)
    assert list(summary) == [each.name for each in CONFIGURATIONS]
    assert summary["pp2"] == {
        "equal": True, "fault": None, "bound": FLOAT32, "encoded": [3, 3],
        "alone": {"asked": 1, "same": 1, "difference": 0.0}, "together": {"asked": 1, "same": 1, "difference": 0.0},
    }  # fmt: skip


@pytest.mark.parametrize(
    "differing",
    [answered("ax"), answered(off=2 * FLOAT32), answered(encoded=4), replace(answered(), together=[answer("ax")]),
     replace(answered(), together=[answer(off=2 * FLOAT32)]), Answers(fault="ValueError: no")],
    ids=["text", "log probability", "a visual encoded twice", "text, at once", "log probability, at once", "no server"],
)  # fmt: skip
def test_one_difference_ends_the_command_with_code_1(
    differing: Answers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, lambda each: differing if each.name == "tp2" else answered(), "pp2", "tp2") == 1
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(name, result["equal"]) for name, result in summary.items()] == [("pp2", True), ("tp2", False)]
    assert summary["tp2"]["fault"] == differing.fault


def test_a_reference_is_asked_once_and_before_what_is_compared_with_it() -> None:
    asked: list[str] = []

    def ask(configuration: Configuration) -> Answers:
        asked.append(configuration.name)
        return answered()

    results = parallel_equivalence.check([TWO, replace(TWO, name="more")], ask)
    assert asked == ["one", "two", "more"]
    assert all(each.is_equal for each in results)


def test_what_is_within_the_bound_is_equal_and_the_bound_is_each_configurations_own() -> None:
    for bound, off, is_equal in ((FLOAT32, FLOAT32 / 2, True), (FLOAT32, INT8 / 2, False), (INT8, INT8 / 2, True)):
        configuration = replace(TWO, bound=bound)
        assert parallel_equivalence.result(configuration, answered(), answered(off=off)).is_equal is is_equal


def test_a_text_more_than_may_differ_is_a_difference() -> None:
    one, two = ([answer(text) for text in texts] for texts in (("ab", "ab"), ("ab", "ax")))
    for may, is_equal in ((0, False), (1, True)):
        configuration = replace(TWO, differing=may)
        answers = (replace(answered(), alone=texts, together=texts) for texts in (one, two))
        assert parallel_equivalence.result(configuration, *answers).is_equal is is_equal


def test_of_control_tokens_which_have_no_bytes_the_likeliest_counts() -> None:
    likeliest = [{"bytes": [], "logprob": -0.1}, {"bytes": [97], "logprob": -3.0}, {"bytes": [], "logprob": -9.0}]
    content = [{"bytes": [], "top_logprobs": likeliest}]
    parsed = Answer.of({"message": {"content": ""}, "logprobs": {"content": content}})
    assert parsed.logprobs == ({b"": -0.1, b"a": -3.0},)


def test_log_probabilities_are_compared_until_the_texts_differ_and_of_unlikely_tokens_too() -> None:
    expected, other = answer("abc"), answer("axc")
    far = replace(other, logprobs=(*other.logprobs[:2], {b"c": -7.0}))
    assert answer_comparison.compare([expected], [far]) == Comparison(1, 0, 0.0)
    unlikely = replace(expected, logprobs=({b"a": -0.5, b"z": -9.25}, *expected.logprobs[1:]))
    assert answer_comparison.compare([expected, expected], [expected, unlikely]) == Comparison(2, 2, 0.25)


def test_the_questions_are_24_the_same_each_time_and_of_every_kind() -> None:
    first, second = answer_comparison.questions(), answer_comparison.questions()
    assert first == second
    assert len(first) == 24
    kinds = {part["type"] for message in first for part in message}
    assert kinds == {"text", "image_url", "video_url", "multi_view"}
    poolings = {part[kind].get("pooling") for message in first for part in message if (kind := part["type"]) != "text"}
    assert poolings == {None, "bilinear", "average", "max"}


def test_a_server_that_does_not_start_is_a_fault_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "print('loading'); raise AssertionError('3 heads for 2 ranks')"
    monkeypatch.setattr(processes, "own_command", lambda *_: [sys.executable, "-c", code])
    answers = parallel_equivalence.serve_and_ask(TWO, Checkpoints(tmp_path))
    assert answers == Answers(fault="AssertionError: 3 heads for 2 ranks")


def test_configurations_are_named_once_and_compared_with_one_process() -> None:
    references = {each.name: each for each in REFERENCES}
    names = [each.name for each in (*REFERENCES, *CONFIGURATIONS)]
    assert len(set(names)) == len(names)
    for each in CONFIGURATIONS:
        assert each.reference is not None
        assert not references[each.reference].options


@pytest.mark.parallel
class TestOnThisMachine:
    @pytest.fixture(scope="class")
    def ask(self, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Configuration], Answers]:
        """Asks each configuration once: several are compared with the same reference."""
        checkpoints, asked = Checkpoints(tmp_path_factory.mktemp("checkpoints")), dict[str, Answers]()

        def ask_once(configuration: Configuration) -> Answers:
            if configuration.name not in asked:
                asked[configuration.name] = parallel_equivalence.serve_and_ask(configuration, checkpoints)
            return asked[configuration.name]

        return ask_once

    @pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda each: each.name)
    def test_the_answers_are_those_of_one_process(
        self, configuration: Configuration, ask: Callable[[Configuration], Answers]
    ) -> None:
        (result,) = parallel_equivalence.check([configuration], ask)
        assert result.fault is None
        assert result.is_equal, result

    def test_an_adapter_changes_the_answers(self, ask: Callable[[Configuration], Answers]) -> None:
        one, merged = (ask(each) for each in REFERENCES[:2])
        assert answer_comparison.compare(one.alone, merged.alone).difference > 1000 * FLOAT32
