"""Dataset files are loaded by their format, and limited by dataset."""

from pathlib import Path

import pytest

from llava_interleave_serve.benchmarks.evaluation.dataset import loading
from llava_interleave_serve.benchmarks.evaluation.dataset.records import DatasetError
from tests.support import datasets


def test_dataset_files_of_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"x\.csv: neither"):
        loading.load_records([tmp_path / "x.csv"])


def test_dataset_files_of_the_same_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"two of the files are called records\.json"):
        loading.load_records([tmp_path / "a" / "records.json", tmp_path / "b" / "records.json"])


def test_a_limit_keeps_the_first_records_of_each_dataset(tmp_path: Path) -> None:
    records = loading.load_records([datasets.write_json(tmp_path, datasets.mixed(20))])
    limited = loading.limit_per_dataset(records, 2)
    assert [record.row for record in limited] == list(range(8))
