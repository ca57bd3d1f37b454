"""`llava-interleave eval ablation` measures the grid of Table 1 and writes a budget file that the server reads."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from llava_interleave_serve.benchmarks.evaluation.ablation import cli
from llava_interleave_serve.server.prompt import token_budget
from tests.support import datasets
from tests.support.fakes import openai_server


class TestCommand:
    @pytest.fixture
    def fake(self) -> Iterator[openai_server.FakeOpenAI]:
        with openai_server.running() as fake:
            yield fake

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Path:
        datasets.video(tmp_path / "v.mp4")
        records = [
            datasets.record(number, "NextQA", "multi-choice", (f"<video>\nWhy {number}?", "a"), video="v.mp4")
            for number in range(4)
        ]
        return datasets.write_json(tmp_path, records)

    def run(self, fake: openai_server.FakeOpenAI, dataset: Path, *options: str) -> tuple[int, Path]:
        out = dataset.parent / "out"
        return cli.run_ablation([str(dataset), "--out", str(out), "--base-url", fake.base_url, *options]), out

    def test_the_default_ablation_grid_is_that_of_table_1(
        self, fake: openai_server.FakeOpenAI, dataset: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fake.answer_rule = lambda messages: "a" if "pooling" in json.dumps(messages) else "b"
        code, out = self.run(fake, dataset)
        assert code == 0
        assert len(fake.bodies) == 16 * 4
        rows = json.loads((out / "ablation.json").read_text())
        tokens = {(row["pooling"], row["frames"]): row["tokens"] for row in rows}
        assert tokens["none", 10] == 7290
        assert tokens["average", 40] == tokens["max", 40] == 40 * 169
        assert tokens["bilinear", 64] == 64 * 196
        assert {row["score"] for row in rows} == {1.0}
        assert all(row["seconds_to_first_token"] > 0 for row in rows)
        printed = capsys.readouterr().out
        assert printed == (out / "ablation.md").read_text()
        cells = {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in printed.splitlines()}
        assert ("10 frames, 7290 tokens: 100.00", "bilinear, 40 frames, 7840 tokens: 100.00", "+0.00") in cells
        assert "52.9/3.48" in printed

    def test_the_server_reads_the_budget_file_of_an_ablation(
        self, fake: openai_server.FakeOpenAI, dataset: Path
    ) -> None:
        fake.answer_rule = lambda messages: "a" if '"bilinear"' in json.dumps(messages) else "b"
        _, out = self.run(fake, dataset, "--frames", "10", "40")
        steps = token_budget.load(out / "visual_budget.json")
        assert [(step.pooling, step.stride, step.min_frames, step.max_frames) for step in steps] == [
            ("bilinear", 2, 4, 10),
            ("average", 2, 4, 10),
            ("max", 2, 4, 10),
            ("bilinear", 3, 4, 10),
            ("bilinear", 4, 4, 10),
        ]

    def test_a_second_ablation_run_asks_no_question_again(self, fake: openai_server.FakeOpenAI, dataset: Path) -> None:
        options = ("--poolings", "none", "--frames", "2")
        self.run(fake, dataset, *options)
        first = (dataset.parent / "out" / "ablation.json").read_text()
        fake.bodies.clear()
        assert self.run(fake, dataset, *options)[0] == 0
        assert fake.bodies == []
        assert (dataset.parent / "out" / "ablation.json").read_text() == first

    def test_an_ablation_row_with_refusals_has_no_score(
        self, fake: openai_server.FakeOpenAI, dataset: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fake.refusals = [(400, {})]
        code, out = self.run(fake, dataset, "--poolings", "none", "--frames", "64")
        assert code == 0
        (row,) = json.loads((out / "ablation.json").read_text())
        assert (row["score"], row["refused"]) == (None, 1)
        assert not (out / "visual_budget.json").exists()
        assert "visual_budget.json is not written: no row was answered whole" in capsys.readouterr().err

    def test_a_failed_ablation_can_be_continued(self, fake: openai_server.FakeOpenAI, dataset: Path) -> None:
        fake.refusals = [(500, {})]
        assert self.run(fake, dataset, "--poolings", "none", "--frames", "2", "4")[0] == 1
        assert self.run(fake, dataset, "--poolings", "none", "--frames", "2", "4")[0] == 0
        assert len(fake.bodies) == 1 + 4 * 2
