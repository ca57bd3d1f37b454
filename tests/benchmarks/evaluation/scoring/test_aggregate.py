"""Answers are averaged by dataset, category and split, and set out beside the paper's numbers."""

from pathlib import Path

import pytest

from llava_interleave_serve.benchmarks.evaluation.answer_store import AnswerStore
from llava_interleave_serve.benchmarks.evaluation.dataset.records import QuestionAnswer, Record
from llava_interleave_serve.benchmarks.evaluation.reports import markdown
from llava_interleave_serve.benchmarks.evaluation.scoring import aggregate, paper_results
from llava_interleave_serve.benchmarks.evaluation.scoring.metrics import Style


class ScoredRecords:
    """Records and the answers to them."""

    def __init__(self, folder: Path) -> None:
        self.records: list[Record] = []
        self.answers = AnswerStore(folder, {})

    def add(
        self,
        dataset: str,
        prediction: str | None,
        truth: str = "A",
        kind: str = "multi-choice",
        refused: str | None = None,
        **fields: str | float,
    ) -> None:
        turns = (QuestionAnswer("Q", truth),)
        record = Record("b.json", len(self.records), "id", dataset, kind, turns, (), **fields)  # type: ignore[arg-type]
        self.records.append(record)
        if prediction is not None:
            self.answers.add(record, 0, {"pred_response": prediction} | ({"refused": refused} if refused else {}))

    def by_name(self, style: Style = "reference") -> dict[str, aggregate.DatasetResult]:
        return {result.name: result for result in aggregate.score_datasets(self.records, self.answers, style)}

    def splits(self, style: Style = "reference") -> list[aggregate.SplitResult]:
        return aggregate.group_into_splits(list(self.by_name(style).values()), self.records, style)

    def rows(self, style: Style = "reference") -> dict[str, list[str]]:
        """Returns the cells of the table's rows by title, without the title."""
        lines = [line for line in markdown.score_table(self.splits(style)).splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        return {first.removeprefix("· "): rest for first, *rest in cells}


@pytest.fixture
def scored(tmp_path: Path) -> ScoredRecords:
    return ScoredRecords(tmp_path)


def test_the_first_record_decides_the_metric_of_its_dataset(scored: ScoredRecords) -> None:
    scored.add("VIST", "a b", "a b c d", "open-ended")
    scored.add("VIST", "a b", "a b c d", "multi-choice")
    assert scored.by_name()["VIST"].values == pytest.approx([2 / 3, 2 / 3])
    assert scored.by_name("lmms-eval")["VIST"].values == pytest.approx([2 / 3, 1])  # both hold the letter a


def test_an_unsupported_question_type_is_reported_and_does_not_count(scored: ScoredRecords) -> None:
    scored.add("RAVEN", "A")
    scored.add("AESOP", "A", kind="counting")
    assert scored.by_name()["AESOP"].score is None
    assert aggregate.mean_score(scored.splits()[0].categories) == 1
    assert "AESOP is not supported: its question_type is 'counting'" in markdown.score_table(scored.splits())


def test_a_category_score_is_the_mean_over_datasets_and_that_of_lmms_eval_over_answers(scored: ScoredRecords) -> None:
    for dataset, prediction in [("TQA", "A"), ("WebQA", "B"), ("WebQA", "B"), ("WebQA", "A")]:
        scored.add(dataset, prediction)
    assert scored.rows()["Text-rich VQA"][:2] == ["4", "66.67"]  # (1 + 1/3) / 2
    assert scored.rows("lmms-eval")["Text-rich VQA"][:2] == ["4", "50.00"]


def test_a_split_score_is_the_mean_over_its_categories_that_have_answers(scored: ScoredRecords) -> None:
    for dataset, prediction in [("TQA", "A"), ("TQA", "A"), ("TQA", "A"), ("RAVEN", "B"), ("ScanQA", "A")]:
        scored.add(dataset, prediction)
    splits = {split.title: aggregate.mean_score(split.categories) for split in scored.splits()}
    assert splits == {"In-domain": 0.5, "Multi-view (3D)": 1.0}
    assert scored.rows()["**All categories**"][:2] == ["5", "66.67"]


def test_scores_stand_beside_the_numbers_of_the_paper(scored: ScoredRecords) -> None:
    scored.add("RAVEN", "A")
    rows = scored.rows()
    assert rows[""] == ["n", "score", *paper_results.MODELS]
    assert rows["Puzzle"] == ["1", "100.00", "17.1", "35.4", "48.7", "59.9", ""]
    assert rows["Q-Bench"] == ["0", "-", "76.5", "52.0", "74.2", "76.7", "86.8"]
    assert rows["Average"] == ["1", "100.00", "39.2", "43.9", "58.6", "62.3", ""]
    assert "BLINK" not in rows  # none of its split was asked


def test_datasets_that_the_paper_lacks_are_grouped_as_their_records_say(scored: ScoredRecords) -> None:
    scored.add("shapes", "A", split="Demo", category="Puzzles", chance=0.25)
    scored.add("series", "B", split="Demo", category="Puzzles", chance=0.5)
    scored.add("stray", "A")
    rows = scored.rows()
    assert rows["Puzzles"][:3] == ["2", "50.00", "37.50"]
    assert (rows["shapes"][:2], rows["series"][:2]) == (["1", "100.00"], ["1", "0.00"])
    assert [split.title for split in scored.splits()] == ["Demo", aggregate.OTHER]


def test_missing_answers_are_reported(scored: ScoredRecords) -> None:
    scored.add("RAVEN", "", refused="400: too long")
    scored.add("RAVEN", None)
    text = markdown.score_table(scored.splits())
    assert "RAVEN: 1 questions were refused and count as empty answers." in text
    assert "RAVEN: 1 questions are not answered yet." in text
    assert scored.by_name()["RAVEN"].score == 0
