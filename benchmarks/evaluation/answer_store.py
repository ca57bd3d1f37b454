"""Stores the answers of a run, one JSON line each, as they come, so that an interrupted run can be continued.

The lines of `result.jsonl` have the reference's fields, so that its evaluate_interleave.py reads them too.
`settings.json` beside it holds the settings that the answers depend on: answers of different settings are never mixed.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import Any, NamedTuple, Self

from llava_interleave_serve.benchmarks.evaluation.dataset.records import Record

ANSWERS_FILE, SETTINGS_FILE = "result.jsonl", "settings.json"


class AnswerKey(NamedTuple):
    """The question that an answer belongs to: the record's file and row, and the turn's index."""

    file: str
    row: int
    turn: int


class AnswerStoreError(ValueError):
    """A folder of answers that this run cannot continue."""


class AnswerStore:
    """The answers in a folder; a context manager that holds the folder's lock.

    Args:
        folder: Made if it does not exist; new answers are appended to its `result.jsonl`.
        settings: The values, besides the questions, that the answers depend on; JSON.

    Raises AnswerStoreError if the folder holds answers of other settings, or a line that is no answer, or if another
    run is writing there.

    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / ANSWERS_FILE
        self._answers: dict[AnswerKey, dict[str, Any]] = {}
        self._file = self._path.open("ab")
        try:
            self._lock()
            if self._path.stat().st_size > 0:
                _check_settings(folder / SETTINGS_FILE, settings)
            self._load()
            (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1) + "\n")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, record: Record, turn: int) -> dict[str, Any] | None:
        """Returns the line of the answer to a record's turn, or None.

        Raises AnswerStoreError if the line answers another question, because the dataset has changed.
        """
        answer = self._answers.get(AnswerKey(record.file, record.row, turn))
        expected = record.turns[turn]
        if answer is not None and (answer["prompt"], answer["gt_response"]) != (expected.question, expected.answer):
            raise AnswerStoreError(
                f"{self._path}: its answer {turn} to {record.location} is to another question or dataset"
            )
        return answer

    def add(self, record: Record, turn: int, answer: dict[str, Any]) -> None:
        """Appends an answer; the operating system has its line when this returns."""
        line = {
            "dataset": record.dataset,
            "question_type": record.question_type,
            "sample_id": record.sample_id,
            "prompt": record.turns[turn].question,
            "gt_response": record.turns[turn].answer,
            "file": record.file,
            "row": record.row,
            "turn": turn,
            **answer,
        }
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        self._answers[AnswerKey(record.file, record.row, turn)] = line

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AnswerStoreError(f"{self._path} is being written by another run") from None

    def _load(self) -> None:
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # the line that was being written when the run was killed
            os.truncate(self._path, whole)
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                answer = json.loads(line)
                self._answers[AnswerKey(answer["file"], answer["row"], answer["turn"])] = answer
            except (ValueError, KeyError, TypeError):
                raise AnswerStoreError(f"{self._path}, line {number}: not an answer of this command") from None


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    if not path.exists():
        return
    previous = json.loads(path.read_text())
    for name in previous.keys() | settings.keys():
        if previous.get(name) != settings.get(name):
            raise AnswerStoreError(
                f"{path.parent} holds answers got with {name} {previous.get(name)!r}, not {settings.get(name)!r}: "
                "name another folder"
            )
