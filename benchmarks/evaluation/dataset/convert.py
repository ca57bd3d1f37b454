"""A bench as the hub has it, from one as the authors publish it.

    python -m llava_interleave_serve.benchmarks.evaluation.dataset.convert JSON FOLDER OUT.parquet

For what reads the hub's parquet only, as lmms-eval does, on questions of one's own. The file's metadata says which
columns hold pictures: without it the `datasets` library gives structs of bytes, which lmms-eval's tasks leave out. The
hub has no column for a record's split, category and chance, so that they stay behind.
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
from llava_interleave_serve.benchmarks.evaluation.dataset import json_format
from llava_interleave_serve.benchmarks.evaluation.dataset.parquet_format import CONVERSATION, IMAGES, MOST_IMAGES, TEXT
from llava_interleave_serve.benchmarks.evaluation.dataset.records import ROLES, BenchError, Record

ROWS = 32  # of a row group: so many records' pictures are in memory at once


def schema() -> Any:
    """The hub's columns, with what the `datasets` library is to make of them."""
    text, image = {"dtype": "string", "_type": "Value"}, {"_type": "Image"}
    features: dict[str, Any] = {
        **dict.fromkeys(TEXT, text),
        CONVERSATION: [{"from": text, "value": text}],
        **dict.fromkeys(IMAGES, image),
    }
    sentence = pa.struct([("from", pa.string()), ("value", pa.string())])
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = [(name, pa.string()) for name in TEXT]
    columns += [(CONVERSATION, pa.list_(sentence)), *((name, picture) for name in IMAGES)]
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def write(records: Sequence[Record], out: Path) -> None:
    """Writes the records as the hub's parquet. Raises BenchError, before anything is written, for one that has no place
    there: with videos, more images than columns, or other marks than images.
    """
    for record in records:
        _check(record)
    columns = schema()
    with pq.ParquetWriter(out, columns) as writer:
        for start in range(0, len(records), ROWS):
            rows = [_row(record) for record in records[start : start + ROWS]]
            writer.write_table(pa.Table.from_pylist(rows, columns))


def _check(record: Record) -> None:
    if any(medium.kind != "image" for medium in record.media):
        raise BenchError(f"{record.place}: has videos, for which the hub's bench has no column")
    if len(record.media) > MOST_IMAGES:
        raise BenchError(f"{record.place}: has {len(record.media)} images, the hub's bench at most {MOST_IMAGES}")
    prompts.pieces(record)


def _row(record: Record) -> dict[str, Any]:
    texts = (record.sample_id, record.data_set, record.question_type, record.turns[0].question, record.turns[0].answer)
    sentences = [text for turn in record.turns for text in (turn.question, turn.answer)]
    return {
        **dict(zip(TEXT, texts, strict=True)),
        CONVERSATION: [{"from": ROLES[at % len(ROLES)], "value": text} for at, text in enumerate(sentences)],
        **{f"image_{at}": {"bytes": one.read(), "path": one.name} for at, one in enumerate(record.media)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bench", type=Path, metavar="JSON", help="The bench.")
    parser.add_argument("media_folder", type=Path, metavar="FOLDER", help="Where its images lie.")
    parser.add_argument("out", type=Path, metavar="OUT.parquet", help="The file to write.")
    arguments = parser.parse_args()
    try:
        records = json_format.read([arguments.bench], arguments.media_folder)
        write(records, arguments.out)
    except BenchError as error:
        sys.exit(str(error))
    print(f"{arguments.out}: {len(records)} records")


if __name__ == "__main__":
    main()
