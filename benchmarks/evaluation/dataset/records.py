"""Records of an evaluation dataset: questions about images or videos, with their right answers.

Every file format (`json_format.py`, `parquet_format.py`) is read to these classes, be it LLaVA-Interleave Bench,
M4-Instruct or a video QA set.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

ROLES = ("human", "gpt")  # of the messages of a conversation, by turns


class DatasetError(ValueError):
    """A dataset that cannot be asked. The message names the file, and the record if one is at fault."""


@dataclass(frozen=True, slots=True)
class Medium:
    """One image or video of a record.

    Attributes:
        kind: `image` or `video`.
        name: The file's path as the record spells it, or the parquet column that holds it.
        read: Returns the file's bytes. Called when the question is sent, so that few files are in memory at once.

    """

    kind: Literal["image", "video"]
    name: str
    read: Callable[[], bytes] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """One turn of a conversation.

    Attributes:
        question: The question as the record spells it, with its `<image>` or `<video>` marks.
        answer: The right answer.

    """

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class RecordLocation:
    """The position of a record in its file, for error messages.

    Attributes:
        file: The file's name.
        row: The record's index in the file, from 0.
        sample_id: The record's own name, once it is known.

    """

    file: str
    row: int
    sample_id: str | None = None

    def __str__(self) -> str:
        name = "" if self.sample_id is None else f" (sample_id {self.sample_id})"
        return f"{self.file}, record {self.row}{name}"

    def error(self, fault: str) -> DatasetError:
        """Returns the error that names this record and its fault."""
        return DatasetError(f"{self}: {fault}")

    def typed_field(self, fields: dict[str, Any], name: str, kind: type) -> Any:
        """Returns a field of the record. Raises DatasetError if it is missing or of another type."""
        if not isinstance(fields.get(name), kind):
            raise self.error(f"{name} is {fields.get(name)!r:.80}, not {kind.__name__}")
        return fields[name]

    def text_field(self, fields: dict[str, Any], name: str) -> str:
        """Returns a field of the record that must be a text. Raises DatasetError if it is not one, or is empty."""
        text: str = self.typed_field(fields, name, str)
        if not text:
            raise self.error(f"{name} is empty")
        return text


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation about images or videos.

    Attributes:
        file: The name of the file that holds the record.
        row: Its index in that file, from 0.
        sample_id: Its own name.
        dataset: The name of its dataset, such as `RAVEN`; a file may hold several.
        question_type: `multi-choice` or `open-ended`, which decides the metric.
        turns: Its questions with their right answers.
        media: Its images or videos, in the order of their marks.
        split: The heading under which its dataset is reported, if the paper has no row for it.
        category: The row to which its dataset belongs, if the paper has no row for it.
        chance: The score that guessing gets, 0 to 1.

    """

    file: str
    row: int
    sample_id: str
    dataset: str
    question_type: str
    turns: tuple[QuestionAnswer, ...]
    media: tuple[Medium, ...]
    split: str | None = None
    category: str | None = None
    chance: float | None = None

    @property
    def location(self) -> RecordLocation:
        """The record's position, as error messages name it."""
        return RecordLocation(self.file, self.row, self.sample_id)


def parse_conversation(messages: Any, location: RecordLocation) -> tuple[QuestionAnswer, ...]:
    """Pairs the messages `[{"from": "human", "value": …}, {"from": "gpt", "value": …}, …]`.

    Raises DatasetError if they are not questions and answers by turns.
    """
    if not isinstance(messages, list) or not messages or len(messages) % len(ROLES):
        raise location.error("its conversations are not a list of questions, each followed by its answer")
    for index, message in enumerate(messages):
        role = ROLES[index % len(ROLES)]
        if not isinstance(message, dict) or message.get("from") != role or not isinstance(message.get("value"), str):
            raise location.error(f'conversations[{index}] is not {{"from": "{role}", "value": text}}')
    texts = [message["value"] for message in messages]
    return tuple(QuestionAnswer(*pair) for pair in zip(texts[::2], texts[1::2], strict=True))
