"""Reading benches: the reference's JSON, whose media lie in a folder, and the hub's parquet (`parquet.py`).

The JSON is a list of records (LLaVA-NeXT, docs/LLaVA-NeXT-Interleave.md). Reading is strict: whatever could not be
asked is an error before anything is.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from llava_interleave_serve.benchmarks.evaluation.dataset.records import BenchError, Medium, Place, Record, conversation

KINDS: tuple[Literal["image", "video"], ...] = ("image", "video")  # each the name of a record's field


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
                from llava_interleave_serve.benchmarks.evaluation.dataset import parquet_format  # noqa: PLC0415 - pyarrow is an extra

                records += parquet_format.read(file)
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
        split=place.text(metadata, "split") if "split" in metadata else None,
        category=place.text(metadata, "category") if "category" in metadata else None,
        chance=_chance(metadata, place),
    )


def _chance(metadata: dict[str, Any], place: Place) -> float | None:
    chance = metadata.get("chance")
    if chance is not None and (isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance <= 1):
        raise place.error(f"chance is {chance!r:.80}, not a number of 0 to 1")
    return chance


def _media(fields: dict[str, Any], folder: Path, place: Place) -> tuple[Medium, ...]:
    media = []
    for kind in KINDS:
        paths = fields.get(kind) or []
        for path in [paths] if isinstance(paths, str) else paths:
            if not isinstance(path, str) or not (folder / path).is_file():
                raise place.error(f"there is no {kind} {path!r} in {folder}")
            media.append(Medium(kind, path, (folder / path).read_bytes))
    if len({medium.kind for medium in media}) > 1:
        raise place.error("has both images and videos, whose order among each other is not said")
    return tuple(media)
