"""A JSON dataset is read whole, or not at all."""

import json
from pathlib import Path
from typing import Any

import pytest

from llava_interleave_serve.benchmarks.evaluation.dataset import loading
from llava_interleave_serve.benchmarks.evaluation.dataset.records import DatasetError, QuestionAnswer, Record
from tests.support import datasets

PUZZLE = datasets.record(7, "RAVEN", "multi-choice", ("<image><image>\nWhich?", "A"), image=["a.png", "deep/b.png"])


def read_one(folder: Path, fields: Any) -> Record:
    (record,) = loading.load_records([datasets.write_json(folder, [fields])])
    return record


def test_a_json_record_is_read_with_its_pictures(tmp_path: Path) -> None:
    record = read_one(tmp_path, PUZZLE)
    assert (record.file, record.row, record.sample_id) == ("records.json", 0, "7")
    assert (record.dataset, record.question_type, record.split) == ("RAVEN", "multi-choice", "test")
    assert record.turns == (QuestionAnswer("<image><image>\nWhich?", "A"),)
    assert [(medium.kind, medium.name) for medium in record.media] == [("image", "a.png"), ("image", "deep/b.png")]
    assert [medium.read() for medium in record.media] == [datasets.picture(0), datasets.picture(1)]


def test_the_media_of_a_json_dataset_may_be_in_another_folder(tmp_path: Path) -> None:
    path = datasets.write_json(tmp_path, [PUZZLE]).rename(tmp_path / "deep" / "records.json")
    (record,) = loading.load_records([path], tmp_path)
    assert record.media[0].read() == datasets.picture(0)


def test_a_single_image_or_video_of_m4_is_named_without_a_list(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"video")
    record = read_one(tmp_path, datasets.record(1, "NextQA", "multi-choice", ("Q", "A"), video="v.mp4"))
    assert [(medium.kind, medium.read()) for medium in record.media] == [("video", b"video")]


def test_every_turn_of_a_json_record_is_read(tmp_path: Path) -> None:
    record = read_one(tmp_path, datasets.record(1, "d", "open-ended", ("Q1", "A1"), ("Q2", "A2")))
    assert record.turns == (QuestionAnswer("Q1", "A1"), QuestionAnswer("Q2", "A2"))


@pytest.mark.parametrize(
    ("change", "message"),
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
        ({"video": ["records.json"]}, "both images and videos"),
        ({"metadata": PUZZLE["metadata"] | {"split": 3}}, "split is 3, not str"),
        ({"metadata": PUZZLE["metadata"] | {"chance": 25}}, "chance is 25, not a number of 0 to 1"),
        ({"metadata": PUZZLE["metadata"] | {"chance": "1/4"}}, "chance is '1/4'"),
    ],
)
def test_a_fault_in_a_json_dataset_names_its_file_and_record(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    good = dict(PUZZLE)
    path = datasets.write_json(tmp_path, [good, good])
    faulty = {name: value for name, value in (good | change).items() if value is not None}
    path.write_text(json.dumps([good, faulty]))
    with pytest.raises(DatasetError) as error:
        loading.load_records([path])
    assert str(error.value).startswith("records.json, record 1")
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["{}", "[3]", "[", ""])
def test_a_json_file_that_is_not_a_dataset_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DatasetError, match=r"^x\.json"):
        loading.load_records([tmp_path / "x.json"])
