"""The authors' JSON format: a list of records whose images and videos are files in a folder.

LLaVA-NeXT, docs/LLaVA-NeXT-Interleave.md; docs/evaluation.md shows a record.
"""

import json
from pathlib import Path
from typing import Any, Literal

from llava_interleave_serve.benchmarks.evaluation.dataset.records import (
    DatasetError,
    Medium,
    Record,
    RecordLocation,
    parse_conversation,
)

MEDIA_KINDS: tuple[Literal["image", "video"], ...] = ("image", "video")  # each is also the name of a record's field


def read_json(file: Path, media_folder: Path) -> list[Record]:
    """Returns every record of a JSON file. Raises DatasetError for one that is not whole."""
    try:
        rows = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file.name}: {error}") from None
    if not isinstance(rows, list):
        raise DatasetError(f"{file.name}: a dataset is a JSON list of records, this is {type(rows).__name__}")
    return [_record(file.name, row, fields, media_folder) for row, fields in enumerate(rows)]


def _record(file: str, row: int, fields: Any, media_folder: Path) -> Record:
    location = RecordLocation(file, row)
    if not isinstance(fields, dict):
        raise location.error(f"is {type(fields).__name__}, not an object")
    sample_id = fields.get("sample_id", fields.get("id"))
    if isinstance(sample_id, bool) or not isinstance(sample_id, str | int):
        raise location.error("has no sample_id")
    location = RecordLocation(file, row, str(sample_id))
    metadata = location.typed_field(fields, "metadata", dict)
    return Record(
        file=file,
        row=row,
        sample_id=str(sample_id),
        dataset=location.text_field(metadata, "dataset"),
        question_type=location.text_field(metadata, "question_type"),
        turns=parse_conversation(fields.get("conversations"), location),
        media=_media(fields, media_folder, location),
        split=location.text_field(metadata, "split") if "split" in metadata else None,
        category=location.text_field(metadata, "category") if "category" in metadata else None,
        chance=_chance(metadata, location),
    )


def _chance(metadata: dict[str, Any], location: RecordLocation) -> float | None:
    chance = metadata.get("chance")
    if chance is not None and (isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance <= 1):
        raise location.error(f"chance is {chance!r:.80}, not a number of 0 to 1")
    return chance


def _media(fields: dict[str, Any], media_folder: Path, location: RecordLocation) -> tuple[Medium, ...]:
    media = []
    for kind in MEDIA_KINDS:
        paths = fields.get(kind) or []
        for path in [paths] if isinstance(paths, str) else paths:
            if not isinstance(path, str) or not (media_folder / path).is_file():
                raise location.error(f"there is no {kind} {path!r} in {media_folder}")
            media.append(Medium(kind, path, (media_folder / path).read_bytes))
    if len({medium.kind for medium in media}) > 1:
        raise location.error("has both images and videos, whose order among each other is not said")
    return tuple(media)
