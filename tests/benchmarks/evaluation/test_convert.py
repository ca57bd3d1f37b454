"""A dataset is converted from the authors' format to the hub's without a change in its records."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import parquet as pq

from llava_interleave_serve.benchmarks.evaluation import convert
from llava_interleave_serve.benchmarks.evaluation.dataset import loading
from llava_interleave_serve.benchmarks.evaluation.dataset.records import DatasetError, Medium, Record
from tests.support import datasets

MODULE = "llava_interleave_serve.benchmarks.evaluation.convert"


def read(path: Path) -> list[tuple[Record, list[bytes]]]:
    """Returns the records with their pictures' bytes, but without the names of files and pictures."""
    return [
        (replace(record, file="", media=(), split=None), [medium.read() for medium in record.media])
        for record in loading.load_records([path])
    ]


def test_every_converted_record_is_read_back_with_its_turns_and_pictures_over_row_groups(tmp_path: Path) -> None:
    source = datasets.write_json(tmp_path, datasets.mixed(2 * convert.ROW_GROUP_ROWS + 3))
    out = tmp_path / "out.parquet"
    convert.write_parquet(loading.load_records([source]), out)
    assert read(out) == read(source)
    assert pq.ParquetFile(out).num_row_groups == 3


def test_records_of_sixteen_pictures_and_of_none_are_converted(tmp_path: Path) -> None:
    names = [f"{index:02}.png" for index in range(16)]
    records = [
        datasets.record(1, "d", "open-ended", ("Q", "A"), image=names),
        datasets.record(2, "d", "open-ended", ("Q", "A")),
    ]
    source, out = datasets.write_json(tmp_path, records), tmp_path / "out.parquet"
    convert.write_parquet(loading.load_records([source]), out)
    assert read(out) == read(source)
    assert pq.read_table(out).column("image_15").to_pylist() == [
        {"bytes": datasets.picture(15), "path": "15.png"},
        None,
    ]


def test_the_metadata_of_a_converted_file_names_its_picture_columns(tmp_path: Path) -> None:
    records = loading.load_records([datasets.write_json(tmp_path, datasets.mixed(1))])
    convert.write_parquet(records, tmp_path / "out.parquet")
    columns = pq.read_schema(tmp_path / "out.parquet")
    features = json.loads(columns.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == columns.names
    pictures = [name for name, feature in features.items() if feature == {"_type": "Image"}]
    assert pictures == [f"image_{index}" for index in range(16)]


@pytest.mark.parametrize(
    ("media", "question", "message"),
    [
        ([Medium("video", "v.mp4", bytes)], "Q", "has videos"),
        ([Medium("image", "a.png", bytes)] * 17, "Q", "has 17 images, the hub's format at most 16"),
        ([Medium("image", "a.png", bytes)], "<image><image>", "marks 2 places for 1"),
    ],
)
def test_a_record_that_parquet_cannot_hold_is_refused_before_a_file_is_written(
    tmp_path: Path, media: list[Medium], question: str, message: str
) -> None:
    good, other = loading.load_records([datasets.write_json(tmp_path, datasets.mixed(2))])
    bad = replace(other, media=tuple(media), turns=(replace(other.turns[0], question=question),))
    with pytest.raises(DatasetError, match=message) as error:
        convert.write_parquet([good, bad], tmp_path / "out.parquet")
    assert str(error.value).startswith("records.json, record 1")
    assert not (tmp_path / "out.parquet").exists()


def test_the_convert_command_writes_a_dataset_or_reports_its_fault(tmp_path: Path) -> None:
    def run(source: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", MODULE, str(source), str(tmp_path), str(tmp_path / "out.parquet")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    source = datasets.write_json(tmp_path, datasets.mixed(3))
    done = run(source)
    assert (done.returncode, done.stderr) == (0, "")
    assert read(tmp_path / "out.parquet") == read(source)
    failed = run(tmp_path / "none.json")
    assert failed.returncode == 1
    assert failed.stderr.startswith("none.json: ")
