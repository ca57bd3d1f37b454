"""What is asked: the records of a bench, of M4-Instruct or of a video QA set."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

ROLES = ("human", "gpt")


class BenchError(ValueError):
    """A bench that cannot be asked; says the file, and the record if it is one's fault."""


@dataclass(frozen=True, slots=True)
class Medium:
    """One image or video of a record. name: as the record calls it. read: its file's bytes, read when they are sent."""

    kind: Literal["image", "video"]
    name: str
    read: Callable[[], bytes] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Turn:
    """One question, as the record spells it with its `<image>` marks, and its right answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation: its media, in order, and its turns.

    file, row: where it stands. split, category: where its data set belongs if the paper does not say. chance: the score
    that guessing gets, 0 to 1.
    """

    file: str
    row: int
    sample_id: str
    data_set: str
    question_type: str
    turns: tuple[Turn, ...]
    media: tuple[Medium, ...]
    split: str | None = None
    category: str | None = None
    chance: float | None = None

    @property
    def place(self) -> str:
        return f"{self.file}, record {self.row} (sample_id {self.sample_id})"


def conversation(sentences: Any, place: "Place") -> tuple[Turn, ...]:
    """Questions and right answers of `[{"from": "human", "value": …}, {"from": "gpt", "value": …}, …]`."""
    if not isinstance(sentences, list) or not sentences or len(sentences) % len(ROLES):
        raise place.error("its conversations are not a list of questions, each followed by its answer")
    for at, sentence in enumerate(sentences):
        role = ROLES[at % len(ROLES)]
        if not isinstance(sentence, dict) or sentence.get("from") != role or not isinstance(sentence.get("value"), str):
            raise place.error(f'conversations[{at}] is not {{"from": "{role}", "value": text}}')
    values = [sentence["value"] for sentence in sentences]
    return tuple(Turn(*pair) for pair in zip(values[::2], values[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands, for what is said of it."""

    file: str
    row: int
    sample_id: str | None = None

    def error(self, fault: str) -> BenchError:
        named = "" if self.sample_id is None else f" (sample_id {self.sample_id})"
        return BenchError(f"{self.file}, record {self.row}{named}: {fault}")

    def typed(self, fields: dict[str, Any], name: str, kind: type) -> Any:
        """The field. Raises BenchError if it is missing or of another type."""
        if not isinstance(fields.get(name), kind):
            raise self.error(f"{name} is {fields.get(name)!r:.80}, not {kind.__name__}")
        return fields[name]

    def text(self, fields: dict[str, Any], name: str) -> str:
        """The field, a text that is not empty."""
        value: str = self.typed(fields, name, str)
        if not value:
            raise self.error(f"{name} is empty")
        return value
