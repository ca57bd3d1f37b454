"""Converts a dataset from the authors' JSON to the hub's parquet.

    python -m llava_interleave_serve.benchmarks.evaluation.convert JSON FOLDER OUT.parquet

Some programs read only the hub's parquet, lmms-eval for one; this lets them ask questions of one's own. The file's
metadata says which columns hold pictures: without it the `datasets` library returns structs of bytes, which lmms-eval's
tasks leave out. The hub has no columns for a record's split, category and chance, which are dropped.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet as pq

from llava_interleave_serve.benchmarks.evaluation import prompts
from llava_interleave_serve.benchmarks.evaluation.dataset.loading import load_records
from llava_interleave_serve.benchmarks.evaluation.dataset.parquet_format import (
    CONVERSATION_COLUMN,
    IMAGE_COLUMNS,
    MAX_IMAGES,
    TEXT_COLUMNS,
)
from llava_interleave_serve.benchmarks.evaluation.dataset.records import ROLES, DatasetError, Record

ROW_GROUP_ROWS = 32  # the pictures of so many records are in memory at once


def hub_schema() -> Any:
    """Returns the hub's columns (a `pyarrow.Schema`), with the features that the `datasets` library is to read."""
    text_feature, image_feature = {"dtype": "string", "_type": "Value"}, {"_type": "Image"}
    features: dict[str, Any] = {
        **dict.fromkeys(TEXT_COLUMNS, text_feature),
        CONVERSATION_COLUMN: [{"from": text_feature, "value": text_feature}],
        **dict.fromkeys(IMAGE_COLUMNS, image_feature),
    }
    message = pa.struct([("from", pa.string()), ("value", pa.string())])
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = [(name, pa.string()) for name in TEXT_COLUMNS]
    columns += [(CONVERSATION_COLUMN, pa.list_(message)), *((name, picture) for name in IMAGE_COLUMNS)]
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def write_parquet(records: Sequence[Record], out: Path) -> None:
    """Writes the records in the hub's format.

    Raises DatasetError, before anything is written, for a record that the format cannot hold: one with videos, with
    more images than there are columns, or with more or fewer marks than images.
    """
    for record in records:
        _check(record)
    schema = hub_schema()
    with pq.ParquetWriter(out, schema) as writer:
        for start in range(0, len(records), ROW_GROUP_ROWS):
            rows = [_row(record) for record in records[start : start + ROW_GROUP_ROWS]]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _check(record: Record) -> None:
    if any(medium.kind != "image" for medium in record.media):
        raise record.location.error("has videos, for which the hub's format has no column")
    if len(record.media) > MAX_IMAGES:
        raise record.location.error(f"has {len(record.media)} images, the hub's format at most {MAX_IMAGES}")
    prompts.split_questions(record)


def _row(record: Record) -> dict[str, Any]:
    texts = (record.sample_id, record.dataset, record.question_type, record.turns[0].question, record.turns[0].answer)
    messages = [text for turn in record.turns for text in (turn.question, turn.answer)]
    return {
        **dict(zip(TEXT_COLUMNS, texts, strict=True)),
        CONVERSATION_COLUMN: [
            {"from": ROLES[index % len(ROLES)], "value": text} for index, text in enumerate(messages)
        ],
        **{
            f"image_{index}": {"bytes": medium.read(), "path": medium.name} for index, medium in enumerate(record.media)
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("dataset", type=Path, metavar="JSON", help="The dataset in the authors' format.")
    parser.add_argument("media_folder", type=Path, metavar="FOLDER", help="Where its images lie.")
    parser.add_argument("out", type=Path, metavar="OUT.parquet", help="The file to write.")
    arguments = parser.parse_args()
    try:
        records = load_records([arguments.dataset], arguments.media_folder)
        write_parquet(records, arguments.out)
    except DatasetError as error:
        sys.exit(str(error))
    print(f"{arguments.out}: {len(records)} records")


if __name__ == "__main__":
    main()
