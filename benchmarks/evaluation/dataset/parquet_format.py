"""The bench as the hub has it: a row a record, its pictures in the columns image_0 to image_15.

(lmms-lab/LLaVA-NeXT-Interleave-Bench: sample_id, sub_task, question_type, question, answer; its multi-view part has
conversations in place of the last two.) Pictures are read when they are sent, a row group at a time: a file holds
gigabytes of them.
"""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llava_interleave_serve.benchmarks.evaluation.dataset.records import (
    BenchError,
    Medium,
    Place,
    Record,
    Turn,
    conversation,
)

try:
    from pyarrow import ArrowException
    from pyarrow import parquet as pq
except ImportError:
    raise BenchError("parquet files need pyarrow: pip install 'llava-interleave-serve[eval]'") from None

MOST_IMAGES = 16
NAMES = ("sample_id", "sub_task", "question_type")
TURN = ("question", "answer")
TEXT = (*NAMES, *TURN)
CONVERSATION = "conversations"
IMAGES = tuple(f"image_{number}" for number in range(MOST_IMAGES))
GROUPS_KEPT = 2  # questions are asked in order, so that few groups are ever wanted at once


def read(file: Path) -> list[Record]:
    """Every record of a parquet file. Raises BenchError."""
    try:
        source = pq.ParquetFile(file)
    except (OSError, ArrowException) as error:
        raise BenchError(f"{file.name}: {error}") from None
    with source:
        columns = source.schema_arrow.names
        needed = NAMES if CONVERSATION in columns else TEXT
        missing = [name for name in needed if name not in columns]
        if missing:
            raise BenchError(f"{file.name}: has no column {', '.join(missing)}")
        return list(_records(file, source, [name for name in (*TEXT, CONVERSATION, *IMAGES) if name in columns]))


def _records(file: Path, source: Any, columns: list[str]) -> Iterator[Record]:
    images = [name for name in columns if name in IMAGES]
    texts = [name for name in columns if name not in IMAGES]
    row = 0
    for group in range(source.num_row_groups):
        rows = source.read_row_group(group, columns=texts).to_pylist()
        present = [_present(source, group, name) for name in images]
        for at, fields in enumerate(rows):
            filled = [name for name, is_there in zip(images, present, strict=True) if is_there[at]]
            media = tuple(Medium("image", name, functools.partial(_image, file, group, at, name)) for name in filled)
            yield _record(file.name, row, fields, media)
            row += 1


def _present(source: Any, group: int, column: str) -> list[bool]:
    valid: list[bool] = source.read_row_group(group, columns=[column]).column(column).is_valid().to_pylist()
    return valid


def _record(file: str, row: int, fields: dict[str, Any], media: tuple[Medium, ...]) -> Record:
    sample_id = str(fields["sample_id"])
    place = Place(file, row, sample_id)
    data_set, question_type = place.text(fields, "sub_task"), place.text(fields, "question_type")
    return Record(file, row, sample_id, data_set, question_type, _turns(fields, place), media)


def _turns(fields: dict[str, Any], place: Place) -> tuple[Turn, ...]:
    """The question with its answer, or the conversation where it is longer or stands alone."""
    sentences = fields.get(CONVERSATION)
    if isinstance(sentences, str):
        try:
            sentences = json.loads(sentences)
        except ValueError as error:
            raise place.error(f"its conversations are not JSON: {error}") from None
    alone = all(fields.get(name) is None for name in TURN)
    if isinstance(sentences, list) and (alone or len(sentences) > len(TURN)):
        return conversation(sentences, place)
    return (Turn(place.text(fields, "question"), place.typed(fields, "answer", str)),)


@functools.lru_cache(GROUPS_KEPT)
def _group(file: Path, group: int) -> Any:
    with pq.ParquetFile(file) as source:
        return source.read_row_group(group, columns=[name for name in IMAGES if name in source.schema_arrow.names])


def _image(file: Path, group: int, row: int, column: str) -> bytes:
    """The bytes in one cell: the hub's struct of bytes and path, or plain bytes. Raises BenchError."""
    cell = _group(file, group).column(column)[row].as_py()
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(data, bytes) or not data:
        raise BenchError(f"{file.name}, row {row} of group {group}: {column} holds no picture's bytes")
    return data
