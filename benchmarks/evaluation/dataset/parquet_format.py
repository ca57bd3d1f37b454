"""The hub's parquet format: one row a record, its pictures in the columns image_0 to image_15.

lmms-lab/LLaVA-NeXT-Interleave-Bench has the columns sample_id, sub_task, question_type, question and answer; its
multi-view part has `conversations` in place of the last two. A file holds gigabytes of pictures, so that they are read
when they are sent, one row group at a time.
"""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llava_interleave_serve.benchmarks.evaluation.dataset.records import (
    DatasetError,
    Medium,
    QuestionAnswer,
    Record,
    RecordLocation,
    parse_conversation,
)

try:
    from pyarrow import ArrowException
    from pyarrow import parquet as pq
except ImportError:
    raise DatasetError("parquet files need pyarrow: in a checkout, pip install -e '.[eval]'") from None

MAX_IMAGES = 16
NAME_COLUMNS = ("sample_id", "sub_task", "question_type")
QUESTION_COLUMNS = ("question", "answer")
TEXT_COLUMNS = (*NAME_COLUMNS, *QUESTION_COLUMNS)
CONVERSATION_COLUMN = "conversations"
IMAGE_COLUMNS = tuple(f"image_{index}" for index in range(MAX_IMAGES))
CACHED_ROW_GROUPS = 2  # questions are asked in order, so that few row groups are needed at once


def read_parquet(file: Path) -> list[Record]:
    """Returns every record of a parquet file. Raises DatasetError for one that is not whole."""
    try:
        source = pq.ParquetFile(file)
    except (OSError, ArrowException) as error:
        raise DatasetError(f"{file.name}: {error}") from None
    with source:
        columns = source.schema_arrow.names
        needed = NAME_COLUMNS if CONVERSATION_COLUMN in columns else TEXT_COLUMNS
        missing = [name for name in needed if name not in columns]
        if missing:
            raise DatasetError(f"{file.name}: has no column {', '.join(missing)}")
        known = [name for name in (*TEXT_COLUMNS, CONVERSATION_COLUMN, *IMAGE_COLUMNS) if name in columns]
        return list(_records(file, source, known))


def _records(file: Path, source: Any, columns: list[str]) -> Iterator[Record]:
    image_columns = [name for name in columns if name in IMAGE_COLUMNS]
    text_columns = [name for name in columns if name not in IMAGE_COLUMNS]
    row = 0
    for group in range(source.num_row_groups):
        rows = source.read_row_group(group, columns=text_columns).to_pylist()
        filled_rows = {name: _filled_rows(source, group, name) for name in image_columns}
        for row_in_group, fields in enumerate(rows):
            filled = [name for name in image_columns if filled_rows[name][row_in_group]]
            media = tuple(
                Medium("image", name, functools.partial(_image, file, group, row_in_group, name)) for name in filled
            )
            yield _record(file.name, row, fields, media)
            row += 1


def _filled_rows(source: Any, group: int, column: str) -> list[bool]:
    """One value for each row of the group: True if the column has a value there."""
    valid: list[bool] = source.read_row_group(group, columns=[column]).column(column).is_valid().to_pylist()
    return valid


def _record(file: str, row: int, fields: dict[str, Any], media: tuple[Medium, ...]) -> Record:
    sample_id = str(fields["sample_id"])
    location = RecordLocation(file, row, sample_id)
    dataset, question_type = location.text_field(fields, "sub_task"), location.text_field(fields, "question_type")
    return Record(file, row, sample_id, dataset, question_type, _turns(fields, location), media)


def _turns(fields: dict[str, Any], location: RecordLocation) -> tuple[QuestionAnswer, ...]:
    """Returns the question with its answer, or the conversation if it has more turns or there is nothing else."""
    messages = fields.get(CONVERSATION_COLUMN)
    if isinstance(messages, str):
        try:
            messages = json.loads(messages)
        except ValueError as error:
            raise location.error(f"its conversations are not JSON: {error}") from None
    nothing_else = all(fields.get(name) is None for name in QUESTION_COLUMNS)
    if isinstance(messages, list) and (nothing_else or len(messages) > len(QUESTION_COLUMNS)):
        return parse_conversation(messages, location)
    return (QuestionAnswer(location.text_field(fields, "question"), location.typed_field(fields, "answer", str)),)


@functools.lru_cache(CACHED_ROW_GROUPS)
def _row_group_images(file: Path, group: int) -> Any:
    with pq.ParquetFile(file) as source:
        columns = [name for name in IMAGE_COLUMNS if name in source.schema_arrow.names]
        return source.read_row_group(group, columns=columns)


def _image(file: Path, group: int, row_in_group: int, column: str) -> bytes:
    """Returns the picture's bytes in one cell, which is the hub's struct of bytes and path, or plain bytes.

    Raises DatasetError if the cell holds neither.
    """
    cell = _row_group_images(file, group).column(column)[row_in_group].as_py()
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes) or not content:
        raise DatasetError(f"{file.name}, row {row_in_group} of group {group}: {column} holds no picture's bytes")
    return content
