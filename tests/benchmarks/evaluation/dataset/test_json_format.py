"""Benches are read whole, in both formats, or not at all."""

import json
from pathlib import Path
from typing import Any

import pytest

from llava_interleave_serve.benchmarks.evaluation.dataset import json_format
from llava_interleave_serve.benchmarks.evaluation.dataset.records import BenchError, Record, Turn
from tests.support import datasets

PUZZLE = datasets.record(7, "RAVEN", "multi-choice", ("<image><image>\nWhich?", "A"), image=["a.png", "deep/b.png"])


def read_one(folder: Path, fields: Any) -> Record:
    (record,) = json_format.read([datasets.write_json(folder, [fields])])
    return record


class TestJson:
    def test_a_record_is_read_with_its_pictures(self, tmp_path: Path) -> None:
        record = read_one(tmp_path, PUZZLE)
        assert (record.file, record.row, record.sample_id) == ("bench.json", 0, "7")
        assert (record.data_set, record.question_type, record.split) == ("RAVEN", "multi-choice", "test")
        assert record.turns == (Turn("<image><image>\nWhich?", "A"),)
        assert [(medium.kind, medium.name) for medium in record.media] == [("image", "a.png"), ("image", "deep/b.png")]
        assert [medium.read() for medium in record.media] == [datasets.picture(0), datasets.picture(1)]

    def test_media_may_lie_in_another_folder(self, tmp_path: Path) -> None:
        path = datasets.write_json(tmp_path, [PUZZLE]).rename(tmp_path / "deep" / "bench.json")
        (record,) = json_format.read([path], tmp_path)
        assert record.media[0].read() == datasets.picture(0)

    def test_m4s_single_image_and_video_are_named_without_a_list(self, tmp_path: Path) -> None:
        (tmp_path / "v.mp4").write_bytes(b"video")
        record = read_one(tmp_path, datasets.record(1, "NextQA", "multi-choice", ("Q", "A"), video="v.mp4"))
        assert [(medium.kind, medium.read()) for medium in record.media] == [("video", b"video")]

    def test_every_turn_is_read(self, tmp_path: Path) -> None:
        record = read_one(tmp_path, datasets.record(1, "d", "open-ended", ("Q1", "A1"), ("Q2", "A2")))
        assert record.turns == (Turn("Q1", "A1"), Turn("Q2", "A2"))

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"sample_id": None}, "has no sample_id"),
            ({"metadata": None}, "metadata is None, not dict"),
            ({"metadata": {"question_type": "open-ended"}}, "dataset is None, not str"),
            ({"metadata": {"dataset": "RAVEN"}}, "question_type is None"),
            ({"image": ["no-such.png"]}, "there is no image 'no-such.png'"),
            ({"image": [3]}, "there is no image 3"),
            ({"conversations": []}, "not a list of questions"),
            ({"conversations": [{"from": "human", "value": "Q"}]}, "each followed by its answer"),
            (
                {"conversations": [{"from": "gpt", "value": "A"}, {"from": "human", "value": "Q"}]},
                'conversations[0] is not {"from": "human"',
            ),
            (
                {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": 3}]},
                'conversations[1] is not {"from": "gpt"',
            ),
            ({"video": ["bench.json"]}, "both images and videos"),
            ({"metadata": PUZZLE["metadata"] | {"split": 3}}, "split is 3, not str"),
            ({"metadata": PUZZLE["metadata"] | {"chance": 25}}, "chance is 25, not a number of 0 to 1"),
            ({"metadata": PUZZLE["metadata"] | {"chance": "1/4"}}, "chance is '1/4'"),
        ],
    )
    def test_a_fault_names_its_file_and_record(self, tmp_path: Path, change: dict[str, Any], said: str) -> None:
        good = dict(PUZZLE)
        path = datasets.write_json(tmp_path, [good, good])
        faulty = {name: value for name, value in (good | change).items() if value is not None}
        path.write_text(json.dumps([good, faulty]))
        with pytest.raises(BenchError) as error:
            json_format.read([path])
        assert str(error.value).startswith("bench.json, record 1")
        assert said in str(error.value)

    @pytest.mark.parametrize("text", ["{}", "[3]", "[", ""])
    def test_what_is_no_bench_is_an_error(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(BenchError, match=r"^x\.json"):
            json_format.read([tmp_path / "x.json"])


ROW = {
    "sample_id": "r1",
    "sub_task": "AESOP",
    "question_type": "open-ended",
    "question": "<image> <image> What happens?",
    "answer": "A cat.",
    "images": [datasets.picture(5), datasets.picture(6, "JPEG")],
}


class TestParquet:
    def test_rows_are_read_with_their_pictures_over_row_groups(self, tmp_path: Path) -> None:
        rows = [ROW | {"sample_id": f"r{at}", "images": [datasets.picture(at)] * (at % 3)} for at in range(7)]
        records = json_format.read([datasets.write_parquet(tmp_path / "test.parquet", rows)])
        assert [record.sample_id for record in records] == [f"r{at}" for at in range(7)]
        assert [record.row for record in records] == list(range(7))
        assert (records[0].data_set, records[0].question_type) == ("AESOP", "open-ended")
        for at, record in enumerate(records):
            assert [medium.read() for medium in record.media] == [datasets.picture(at)] * (at % 3)

    def test_all_sixteen_columns_are_read_in_order(self, tmp_path: Path) -> None:
        pictures = [datasets.picture(at) for at in range(16)]
        (record,) = json_format.read([datasets.write_parquet(tmp_path / "t.parquet", [ROW | {"images": pictures}])])
        assert [medium.read() for medium in record.media] == pictures

    def test_a_conversation_of_one_turn_adds_nothing_and_of_two_is_asked_whole(self, tmp_path: Path) -> None:
        sentences = [{"from": role, "value": role + number} for number in "12" for role in ("human", "gpt")]
        rows = [ROW | {"conversations": sentences[:2]}, ROW | {"conversations": sentences}]
        one, two = json_format.read([datasets.write_parquet(tmp_path / "t.parquet", rows)])
        assert one.turns == (Turn(ROW["question"], ROW["answer"]),)
        assert two.turns == (Turn("human1", "gpt1"), Turn("human2", "gpt2"))

    def test_the_multi_view_part_has_conversations_in_place_of_question_and_answer(self, tmp_path: Path) -> None:
        from pyarrow import parquet as pq

        sentences = [{"from": "human", "value": "<image><image>Where?"}, {"from": "gpt", "value": "Here."}]
        path = datasets.write_parquet(tmp_path / "t.parquet", [ROW | {"conversations": sentences}])
        pq.write_table(pq.read_table(path).drop_columns(["question", "answer"]), path)
        (record,) = json_format.read([path])
        assert record.turns == (Turn("<image><image>Where?", "Here."),)

    def test_a_fault_names_its_file_and_record(self, tmp_path: Path) -> None:
        path = datasets.write_parquet(tmp_path / "t.parquet", [ROW, ROW | {"answer": None}])
        with pytest.raises(BenchError, match=r"t\.parquet, record 1 \(sample_id r1\): answer is None"):
            json_format.read([path])

    def test_a_column_that_lacks_is_named(self, tmp_path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet as pq

        pq.write_table(pa.table({"sample_id": ["a"], "question": ["b"]}), tmp_path / "t.parquet")
        with pytest.raises(BenchError, match="has no column sub_task, question_type, answer"):
            json_format.read([tmp_path / "t.parquet"])

    def test_what_is_no_parquet_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "t.parquet").write_bytes(b"no parquet")
        with pytest.raises(BenchError, match=r"^t\.parquet"):
            json_format.read([tmp_path / "t.parquet"])


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"x\.csv: neither"):
        json_format.read([tmp_path / "x.csv"])


def test_files_of_the_same_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"two of the files are called bench\.json"):
        json_format.read([tmp_path / "a" / "bench.json", tmp_path / "b" / "bench.json"])


def test_a_limit_keeps_the_first_of_each_data_set(tmp_path: Path) -> None:
    records = json_format.read([datasets.write_json(tmp_path, datasets.mixed(20))])
    kept = json_format.first_of_each(records, 2)
    assert [record.row for record in kept] == list(range(8))
