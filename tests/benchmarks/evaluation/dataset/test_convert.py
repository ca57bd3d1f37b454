"""A bench in the authors' format is the same records in the hub's."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import parquet as pq

from llava_interleave_serve.benchmarks.evaluation.dataset import convert, json_format
from llava_interleave_serve.benchmarks.evaluation.dataset.records import BenchError, Medium, Record
from tests.support import datasets

MODULE = "llava_interleave_serve.benchmarks.evaluation.dataset.convert"


def read(path: Path) -> list[tuple[Record, list[bytes]]]:
    """The records with their pictures' bytes, whatever the files and pictures are called."""
    return [
        (replace(one, file="", media=(), split=None), [medium.read() for medium in one.media])
        for one in json_format.read([path])
    ]


def test_every_record_is_read_back_with_its_turns_and_pictures_over_row_groups(tmp_path: Path) -> None:
    source, out = datasets.write_json(tmp_path, datasets.mixed(2 * convert.ROWS + 3)), tmp_path / "out.parquet"
    convert.write(json_format.read([source]), out)
    assert read(out) == read(source)
    assert pq.ParquetFile(out).num_row_groups == 3


def test_sixteen_pictures_and_none_have_room(tmp_path: Path) -> None:
    names = [f"{at:02}.png" for at in range(16)]
    records = [
        datasets.record(1, "d", "open-ended", ("Q", "A"), image=names),
        datasets.record(2, "d", "open-ended", ("Q", "A")),
    ]
    source, out = datasets.write_json(tmp_path, records), tmp_path / "out.parquet"
    convert.write(json_format.read([source]), out)
    assert read(out) == read(source)
    assert pq.read_table(out).column("image_15").to_pylist() == [
        {"bytes": datasets.picture(15), "path": "15.png"},
        None,
    ]


def test_the_file_says_which_columns_are_pictures(tmp_path: Path) -> None:
    convert.write(json_format.read([datasets.write_json(tmp_path, datasets.mixed(1))]), tmp_path / "out.parquet")
    columns = pq.read_schema(tmp_path / "out.parquet")
    features = json.loads(columns.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == columns.names
    pictures = [name for name, feature in features.items() if feature == {"_type": "Image"}]
    assert pictures == [f"image_{at}" for at in range(16)]


@pytest.mark.parametrize(
    ("media", "question", "said"),
    [
        ([Medium("video", "v.mp4", bytes)], "Q", "has videos"),
        ([Medium("image", "a.png", bytes)] * 17, "Q", "has 17 images, the hub's bench at most 16"),
        ([Medium("image", "a.png", bytes)], "<image><image>", "marks 2 places for 1"),
    ],
)
def test_what_has_no_place_there_is_refused_before_anything_is_written(
    tmp_path: Path, media: list[Medium], question: str, said: str
) -> None:
    good, other = json_format.read([datasets.write_json(tmp_path, datasets.mixed(2))])
    bad = replace(other, media=tuple(media), turns=(replace(other.turns[0], question=question),))
    with pytest.raises(BenchError, match=said) as error:
        convert.write([good, bad], tmp_path / "out.parquet")
    assert str(error.value).startswith("bench.json, record 1")
    assert not (tmp_path / "out.parquet").exists()


def test_the_command_converts_and_says_what_is_wrong(tmp_path: Path) -> None:
    def run(bench: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", MODULE, bench, tmp_path, tmp_path / "out.parquet"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    source = datasets.write_json(tmp_path, datasets.mixed(3))
    done = run(source)
    assert (done.returncode, done.stderr) == (0, "")
    assert read(tmp_path / "out.parquet") == read(source)
    failed = run(tmp_path / "none.json")
    assert failed.returncode == 1
    assert failed.stderr.startswith("none.json: ")
