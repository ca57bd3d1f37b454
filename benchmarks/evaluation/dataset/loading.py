"""Reads the records of dataset files, whichever format each is in."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from llava_interleave_serve.benchmarks.evaluation.dataset import json_format
from llava_interleave_serve.benchmarks.evaluation.dataset.records import DatasetError, Record


def load_records(files: Sequence[Path], media_folder: Path | None = None) -> list[Record]:
    """Returns every record of `.json` and `.parquet` files, in order.

    `media_folder` holds the images and videos that JSON files name; by default they lie beside each file. Reading is
    strict: raises DatasetError for a file that is no dataset, a record that lacks something, and a media file that
    does not exist, so that nothing is asked of a dataset that could not be asked to its end.
    """
    names = [file.name for file in files]
    for name in names:
        if names.count(name) > 1:
            raise DatasetError(f"two of the files are called {name}: answers are kept by the file's name")
    records: list[Record] = []
    for file in files:
        match file.suffix:
            case ".json":
                records += json_format.read_json(file, media_folder or file.parent)
            case ".parquet":
                from llava_interleave_serve.benchmarks.evaluation.dataset import parquet_format  # noqa: PLC0415 - pyarrow is an extra

                records += parquet_format.read_parquet(file)
            case _:
                raise DatasetError(f"{file.name}: neither .json nor .parquet")
    return records


def limit_per_dataset(records: Iterable[Record], limit: int) -> list[Record]:
    """Returns the first `limit` records of every dataset."""
    counts: Counter[str] = Counter()
    limited = []
    for record in records:
        counts[record.dataset] += 1
        if counts[record.dataset] <= limit:
            limited.append(record)
    return limited
