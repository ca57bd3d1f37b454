"""What is asked: the records of a bench, of M4-Instruct or of a video QA set, in their order.

Two formats: the reference's JSON (LLaVA-NeXT, docs/LLaVA-NeXT-Interleave.md), whose media lie in a folder, and the
hub's parquet (`parquet.py`). Reading is strict: whatever could not be asked or scored is an error before anything is.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

MEDIA_FIELDS: dict[str, Literal["image", "video"]] = {"image": "image", "video": "video"}
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


def read(files: Sequence[Path], media_folder: Path | None = None) -> list[Record]:
    """Every record of the files, in order. media_folder: where JSON files' media lie (each file's own folder).

    Raises BenchError for a file that is no bench, a record that lacks something, and media files that are not there.
    """
    names = [file.name for file in files]
    for name in names:
        if names.count(name) > 1:
            raise BenchError(f"two of the files are called {name}: answers are kept by the file's name")
    records: list[Record] = []
    for file in files:
        match file.suffix:
            case ".json":
                records += _json(file, media_folder or file.parent)
            case ".parquet":
                from llava_interleave_serve.benchmarks.evaluation import parquet  # noqa: PLC0415 - pyarrow is an extra

                records += parquet.read(file)
            case _:
                raise BenchError(f"{file.name}: neither .json nor .parquet")
    return records


def first_of_each(records: Iterable[Record], limit: int) -> list[Record]:
    """The first `limit` records of every data set."""
    seen: dict[str, int] = {}
    kept = []
    for record in records:
        seen[record.data_set] = seen.get(record.data_set, 0) + 1
        if seen[record.data_set] <= limit:
            kept.append(record)
    return kept


def _json(file: Path, folder: Path) -> list[Record]:
    try:
        rows = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise BenchError(f"{file.name}: {error}") from None
    if not isinstance(rows, list):
        raise BenchError(f"{file.name}: a bench is a JSON list of records, this is {type(rows).__name__}")
    return [_record(file.name, row, fields, folder) for row, fields in enumerate(rows)]


def _record(file: str, row: int, fields: Any, folder: Path) -> Record:
    place = Place(file, row)
    if not isinstance(fields, dict):
        raise place.error(f"is {type(fields).__name__}, not an object")
    sample_id = fields.get("sample_id", fields.get("id"))
    if isinstance(sample_id, bool) or not isinstance(sample_id, str | int):
        raise place.error("has no sample_id")
    place = Place(file, row, str(sample_id))
    metadata = place.typed(fields, "metadata", dict)
    return Record(
        file=file,
        row=row,
        sample_id=str(sample_id),
        data_set=place.text(metadata, "dataset"),
        question_type=place.text(metadata, "question_type"),
        turns=conversation(fields.get("conversations"), place),
        media=_media(fields, folder, place),
        split=metadata.get("split"),
        category=metadata.get("category"),
        chance=metadata.get("chance"),
    )


def _media(fields: dict[str, Any], folder: Path, place: "Place") -> tuple[Medium, ...]:
    media = []
    for name, kind in MEDIA_FIELDS.items():
        paths = fields.get(name) or []
        for path in [paths] if isinstance(paths, str) else paths:
            if not isinstance(path, str) or not (folder / path).is_file():
                raise place.error(f"there is no {kind} {path!r} in {folder}")
            media.append(Medium(kind, path, (folder / path).read_bytes))
    if len({medium.kind for medium in media}) > 1:
        raise place.error("has both images and videos, whose order among each other is not said")
    return tuple(media)


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
