"""From answers to data sets, categories and splits, and the table that sets them out."""

from pathlib import Path

import pytest

from llava_interleave_serve.benchmarks.evaluation.answer_store import Answers
from llava_interleave_serve.benchmarks.evaluation.dataset.records import Record, Turn
from llava_interleave_serve.benchmarks.evaluation.reports import markdown
from llava_interleave_serve.benchmarks.evaluation.scoring import aggregate, paper_results
from llava_interleave_serve.benchmarks.evaluation.scoring.metrics import Style


class Bench:
    """Records and the answers to them."""

    def __init__(self, folder: Path) -> None:
        self.records: list[Record] = []
        self.answers = Answers(folder, {})

    def add(
        self, data_set: str, said: str | None, truth: str = "A", kind: str = "multi-choice", refused: str | None = None,
        **fields: str | float,
    ) -> None:  # fmt: skip
        turns = (Turn("Q", truth),)
        record = Record("b.json", len(self.records), "id", data_set, kind, turns, (), **fields)  # type: ignore[arg-type]
        self.records.append(record)
        if said is not None:
            self.answers.add(record, 0, {"pred_response": said} | ({"refused": refused} if refused else {}))

    def data_sets(self, style: Style = "reference") -> dict[str, aggregate.DataSet]:
        return {one.name: one for one in aggregate.data_sets(self.records, self.answers, style)}

    def tables(self, style: Style = "reference") -> list[aggregate.Table]:
        return aggregate.tables(list(self.data_sets(style).values()), self.records, style)

    def rows(self, style: Style = "reference") -> dict[str, list[str]]:
        """The table's rows by title, without their title."""
        lines = [line for line in markdown.text(self.tables(style)).splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        return {first.removeprefix("· "): rest for first, *rest in cells}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_first_record_says_the_type_of_its_data_set(bench: Bench) -> None:
    bench.add("VIST", "a b", "a b c d", "open-ended")
    bench.add("VIST", "a b", "a b c d", "multi-choice")
    assert bench.data_sets()["VIST"].values == pytest.approx([2 / 3, 2 / 3])
    assert bench.data_sets("lmms-eval")["VIST"].values == pytest.approx([2 / 3, 1])  # both hold the letter a


def test_an_unsupported_type_is_told_and_does_not_count(bench: Bench) -> None:
    bench.add("RAVEN", "A")
    bench.add("AESOP", "A", kind="counting")
    assert bench.data_sets()["AESOP"].score is None
    assert aggregate.mean(bench.tables()[0].categories) == 1
    assert "AESOP is not supported: its question_type is 'counting'" in markdown.text(bench.tables())


def test_a_category_is_the_mean_over_data_sets_and_lmms_evals_over_answers(bench: Bench) -> None:
    for data_set, said in [("TQA", "A"), ("WebQA", "B"), ("WebQA", "B"), ("WebQA", "A")]:
        bench.add(data_set, said)
    assert bench.rows()["Text-rich VQA"][:2] == ["4", "66.67"]  # (1 + 1/3) / 2
    assert bench.rows("lmms-eval")["Text-rich VQA"][:2] == ["4", "50.00"]


def test_a_split_is_the_mean_over_its_categories_that_have_answers(bench: Bench) -> None:
    for data_set, said in [("TQA", "A"), ("TQA", "A"), ("TQA", "A"), ("RAVEN", "B"), ("ScanQA", "A")]:
        bench.add(data_set, said)
    splits = {one.title: aggregate.mean(one.categories) for one in bench.tables()}
    assert splits == {"In-domain": 0.5, "Multi-view (3D)": 1.0}
    assert bench.rows()["**All categories**"][:2] == ["5", "66.67"]


def test_rows_stand_beside_the_papers_numbers(bench: Bench) -> None:
    bench.add("RAVEN", "A")
    rows = bench.rows()
    assert rows[""] == ["n", "score", *paper_results.MODELS]
    assert rows["Puzzle"] == ["1", "100.00", "17.1", "35.4", "48.7", "59.9", ""]
    assert rows["Q-Bench"] == ["0", "-", "76.5", "52.0", "74.2", "76.7", "86.8"]
    assert rows["Average"] == ["1", "100.00", "39.2", "43.9", "58.6", "62.3", ""]
    assert "BLINK" not in rows  # none of its split was asked


def test_other_data_sets_are_grouped_as_their_records_say(bench: Bench) -> None:
    bench.add("shapes", "A", split="Demo", category="Puzzles", chance=0.25)
    bench.add("series", "B", split="Demo", category="Puzzles", chance=0.5)
    bench.add("stray", "A")
    rows = bench.rows()
    assert rows["Puzzles"][:3] == ["2", "50.00", "37.50"]
    assert (rows["shapes"][:2], rows["series"][:2]) == (["1", "100.00"], ["1", "0.00"])
    assert [one.title for one in bench.tables()] == ["Demo", aggregate.OTHER]


def test_what_is_missing_is_told(bench: Bench) -> None:
    bench.add("RAVEN", "", refused="400: too long")
    bench.add("RAVEN", None)
    text = markdown.text(bench.tables())
    assert "RAVEN: 1 questions were refused and count as empty answers." in text
    assert "RAVEN: 1 questions are not answered yet." in text
    assert bench.data_sets()["RAVEN"].score == 0
