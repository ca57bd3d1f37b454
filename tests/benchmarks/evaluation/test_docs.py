"""docs/evaluation.md documents every option, and its example of a record can be read."""

import json
import re
from pathlib import Path

from llava_interleave_serve.benchmarks.evaluation import cli as evaluation_cli
from llava_interleave_serve.benchmarks.evaluation.ablation import cli as ablation_cli
from llava_interleave_serve.benchmarks.evaluation.dataset import loading
from tests.support import datasets

DOCS = (Path(__file__).resolve().parents[3] / "docs" / "evaluation.md").read_text()


def test_every_option_of_the_evaluation_is_documented_and_every_documented_option_exists() -> None:
    actions = [action for parser in (evaluation_cli.parser(), ablation_cli.parser()) for action in parser._actions]
    ours = {option for action in actions for option in action.option_strings if option.startswith("--")}
    assert set(re.findall(r"^\| `(--[a-z-]+)", DOCS, re.MULTILINE)) == ours - {"--help"}


def test_the_documented_example_of_a_record_can_be_read(tmp_path: Path) -> None:
    example = re.search(r"```\n(\{.*?\})\n```", DOCS, re.DOTALL)
    assert example is not None
    (record,) = loading.load_records([datasets.write_json(tmp_path, [json.loads(example[1])])])
    assert (record.dataset, len(record.media)) == ("RAVEN", 2)
