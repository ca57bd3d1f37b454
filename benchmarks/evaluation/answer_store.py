"""The answers of a run, a JSON line each, kept as they come, so that an interrupted run goes on where it was.

The file is called `result.jsonl` and its lines have the reference's fields, so that its evaluate_interleave.py reads
them too. `settings.json` beside it says how the answers were got: answers got in different ways are never mixed.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import Any, Self

from llava_interleave_serve.benchmarks.evaluation.dataset.records import Record

RESULTS, SETTINGS = "result.jsonl", "settings.json"

Key = tuple[str, int, int]  # file, row, turn


class AnswersError(ValueError):
    """A folder of answers that cannot be gone on with."""


class Answers:
    """The answers in a folder, which is made if need be; a context manager. `folder / RESULTS` is appended to.

    settings: what the answers depend on besides their questions. Raises AnswersError if the folder holds answers got
    with others, or a line that is none, or if another run is writing there.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / RESULTS
        self._kept: dict[Key, dict[str, Any]] = {}
        _keep_settings(folder / SETTINGS, settings, answered=self._path.exists() and self._path.stat().st_size > 0)
        self._file = self._path.open("ab")
        try:
            self._lock()
            self._load()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, record: Record, turn: int) -> dict[str, Any] | None:
        """The answer to a turn of a record, if there is one. Raises AnswersError if it answers something else."""
        answer = self._kept.get((record.file, record.row, turn))
        asked = record.turns[turn]
        if answer is not None and (answer["prompt"], answer["gt_response"]) != (asked.question, asked.answer):
            raise AnswersError(f"{self._path}: its answer {turn} to {record.place} is to another question or bench")
        return answer

    def add(self, record: Record, turn: int, answer: dict[str, Any]) -> None:
        """Keeps an answer: its line has left the process when this returns."""
        line = {
            "dataset": record.data_set,
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
        self._kept[record.file, record.row, turn] = line

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AnswersError(f"{self._path} is being written by another run") from None

    def _load(self) -> None:
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):  # the line that was being written when the run was killed
            os.truncate(self._path, whole)
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                answer = json.loads(line)
                self._kept[answer["file"], answer["row"], answer["turn"]] = answer
            except (ValueError, KeyError, TypeError):
                raise AnswersError(f"{self._path}, line {number}: not an answer of this command") from None


def _keep_settings(path: Path, settings: dict[str, Any], *, answered: bool) -> None:
    if answered and path.exists():
        before = json.loads(path.read_text())
        for name in before.keys() | settings.keys():
            if before.get(name) != settings.get(name):
                raise AnswersError(
                    f"{path.parent} holds answers got with {name} {before.get(name)!r}, not {settings.get(name)!r}: "
                    "name another folder"
                )
    path.write_text(json.dumps(settings, indent=1) + "\n")
