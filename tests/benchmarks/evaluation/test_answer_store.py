"""Stored answers outlive the run that got them."""

import json
from pathlib import Path

import pytest

from llava_interleave_serve.benchmarks.evaluation.answer_store import (
    ANSWERS_FILE,
    SETTINGS_FILE,
    AnswerStore,
    AnswerStoreError,
)
from llava_interleave_serve.benchmarks.evaluation.dataset.records import QuestionAnswer, Record

SETTINGS = {"model": "m", "pooling": None}
RECORD = Record("b.json", 3, "id", "RAVEN", "multi-choice", (QuestionAnswer("Q1", "A"), QuestionAnswer("Q2", "B")), ())


def test_a_stored_answer_is_in_the_file_at_once_with_the_field_names_of_the_reference(tmp_path: Path) -> None:
    with AnswerStore(tmp_path, SETTINGS) as answers:
        answers.add(RECORD, 1, {"pred_response": "B ü"})
        line = json.loads((tmp_path / ANSWERS_FILE).read_text())
    assert line == {
        "dataset": "RAVEN",
        "question_type": "multi-choice",
        "sample_id": "id",
        "prompt": "Q2",
        "gt_response": "B",
        "pred_response": "B ü",
        "file": "b.json",
        "row": 3,
        "turn": 1,
    }


def test_stored_answers_are_found_by_record_and_turn(tmp_path: Path) -> None:
    with AnswerStore(tmp_path, SETTINGS) as answers:
        answers.add(RECORD, 0, {"pred_response": "first"})
    with AnswerStore(tmp_path, SETTINGS) as answers:
        answer = answers.get(RECORD, 0)
        assert answer is not None
        assert answer["pred_response"] == "first"
        assert answers.get(RECORD, 1) is None


@pytest.mark.parametrize("torn", ["", "{", '{"dataset": "RAVEN", "row"', '{"file": "b.json", "row": 3, "turn": 1}'])
def test_an_incomplete_last_line_of_stored_answers_is_dropped(tmp_path: Path, torn: str) -> None:
    with AnswerStore(tmp_path, SETTINGS) as answers:
        answers.add(RECORD, 0, {"pred_response": "first"})
    with (tmp_path / ANSWERS_FILE).open("a") as file:
        file.write(torn)
    with AnswerStore(tmp_path, SETTINGS) as answers:
        assert (len(answers), answers.get(RECORD, 1)) == (1, None)
        answers.add(RECORD, 1, {"pred_response": "second"})
    lines = (tmp_path / ANSWERS_FILE).read_text().splitlines()
    assert [json.loads(line)["pred_response"] for line in lines] == ["first", "second"]


def test_an_incomplete_last_character_of_stored_answers_is_dropped(tmp_path: Path) -> None:
    (tmp_path / ANSWERS_FILE).write_bytes("{'ü".encode()[:-1])
    with AnswerStore(tmp_path, SETTINGS) as answers:
        assert len(answers) == 0


@pytest.mark.parametrize("line", ["no JSON", "3", "{}", '{"file": "b.json"}'])
def test_a_complete_line_that_is_not_a_stored_answer_is_an_error(tmp_path: Path, line: str) -> None:
    (tmp_path / ANSWERS_FILE).write_text(line + "\n")
    with pytest.raises(AnswerStoreError, match="line 1: not an answer"):
        AnswerStore(tmp_path, SETTINGS)


def test_answers_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    with AnswerStore(tmp_path, SETTINGS) as answers:
        answers.add(RECORD, 0, {"pred_response": "first"})
    with pytest.raises(AnswerStoreError, match="got with pooling None, not 'max'"):
        AnswerStore(tmp_path, SETTINGS | {"pooling": "max"})


def test_settings_may_change_while_no_answer_is_stored(tmp_path: Path) -> None:
    with AnswerStore(tmp_path, SETTINGS):
        pass
    with AnswerStore(tmp_path, SETTINGS | {"pooling": "max"}) as answers:
        assert len(answers) == 0


def test_two_runs_cannot_store_answers_in_one_folder(tmp_path: Path) -> None:
    with AnswerStore(tmp_path, SETTINGS), pytest.raises(AnswerStoreError, match="another run"):
        AnswerStore(tmp_path, SETTINGS)
    with AnswerStore(tmp_path, SETTINGS):
        pass


def test_a_run_that_cannot_store_answers_leaves_the_settings_as_they_are(tmp_path: Path) -> None:
    other = SETTINGS | {"pooling": "max"}
    with AnswerStore(tmp_path, SETTINGS):
        with pytest.raises(AnswerStoreError, match="another run"):
            AnswerStore(tmp_path, other)
        assert json.loads((tmp_path / SETTINGS_FILE).read_text()) == SETTINGS
    (tmp_path / ANSWERS_FILE).write_text("no answer\n")
    (tmp_path / SETTINGS_FILE).unlink()
    with pytest.raises(AnswerStoreError, match="not an answer"):
        AnswerStore(tmp_path, other)
    assert not (tmp_path / SETTINGS_FILE).exists()


def test_a_stored_answer_to_another_question_is_an_error(tmp_path: Path) -> None:
    other = Record("b.json", 3, "id", "RAVEN", "multi-choice", (QuestionAnswer("Q1", "another truth"),), ())
    with AnswerStore(tmp_path, SETTINGS) as answers:
        answers.add(RECORD, 0, {"pred_response": "first"})
        with pytest.raises(AnswerStoreError, match="another question or dataset"):
            answers.get(other, 0)
