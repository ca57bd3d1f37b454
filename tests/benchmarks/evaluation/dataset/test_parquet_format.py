"""A parquet dataset is read whole, or not at all."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from llava_interleave_serve.benchmarks.evaluation.dataset import loading
from llava_interleave_serve.benchmarks.evaluation.dataset.records import DatasetError, QuestionAnswer
from tests.support import datasets

ROW: dict[str, Any] = {
    "sample_id": "r1",
    "sub_task": "AESOP",
    "question_type": "open-ended",
    "question": "<image> <image> What happens?",
    "answer": "A cat.",
    "images": [datasets.picture(5), datasets.picture(6, "JPEG")],
}


def test_parquet_rows_are_read_with_their_pictures_over_row_groups(tmp_path: Path) -> None:
    rows = [ROW | {"sample_id": f"r{index}", "images": [datasets.picture(index)] * (index % 3)} for index in range(7)]
    records = loading.load_records([datasets.write_parquet(tmp_path / "test.parquet", rows)])
    assert [record.sample_id for record in records] == [f"r{index}" for index in range(7)]
    assert [record.row for record in records] == list(range(7))
    assert (records[0].dataset, records[0].question_type) == ("AESOP", "open-ended")
    for index, record in enumerate(records):
        assert [medium.read() for medium in record.media] == [datasets.picture(index)] * (index % 3)


def test_all_sixteen_picture_columns_are_read_in_order(tmp_path: Path) -> None:
    pictures = [datasets.picture(index) for index in range(16)]
    (record,) = loading.load_records([datasets.write_parquet(tmp_path / "t.parquet", [ROW | {"images": pictures}])])
    assert [medium.read() for medium in record.media] == pictures


def test_the_conversations_column_replaces_the_question_only_if_it_has_two_turns(tmp_path: Path) -> None:
    messages = [{"from": role, "value": role + number} for number in "12" for role in ("human", "gpt")]
    rows = [ROW | {"conversations": messages[:2]}, ROW | {"conversations": messages}]
    short, long = loading.load_records([datasets.write_parquet(tmp_path / "t.parquet", rows)])
    assert short.turns == (QuestionAnswer(ROW["question"], ROW["answer"]),)
    assert long.turns == (QuestionAnswer("human1", "gpt1"), QuestionAnswer("human2", "gpt2"))


def test_a_parquet_file_may_have_conversations_in_place_of_question_and_answer(tmp_path: Path) -> None:
    messages = [{"from": "human", "value": "<image><image>Where?"}, {"from": "gpt", "value": "Here."}]
    path = datasets.write_parquet(tmp_path / "t.parquet", [ROW | {"conversations": messages}])
    pq.write_table(pq.read_table(path).drop_columns(["question", "answer"]), path)
    (record,) = loading.load_records([path])
    assert record.turns == (QuestionAnswer("<image><image>Where?", "Here."),)


def test_a_fault_in_a_parquet_dataset_names_its_file_and_record(tmp_path: Path) -> None:
    path = datasets.write_parquet(tmp_path / "t.parquet", [ROW, ROW | {"answer": None}])
    with pytest.raises(DatasetError, match=r"t\.parquet, record 1 \(sample_id r1\): answer is None"):
        loading.load_records([path])


def test_a_missing_parquet_column_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"sample_id": ["a"], "question": ["b"]}), tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match="has no column sub_task, question_type, answer"):
        loading.load_records([tmp_path / "t.parquet"])


def test_a_file_that_is_not_parquet_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"no parquet")
    with pytest.raises(DatasetError, match=r"^t\.parquet"):
        loading.load_records([tmp_path / "t.parquet"])
