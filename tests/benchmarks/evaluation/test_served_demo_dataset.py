"""The end-to-end quality test: the evaluation asks a running server the questions of the shipped dataset."""

import json
from collections.abc import Iterator
from statistics import fmean

import pytest

from llava_interleave_serve.benchmarks.evaluation import cli, demo_dataset
from llava_interleave_serve.benchmarks.evaluation.dataset import loading
from llava_interleave_serve.demo import tokenizer
from llava_interleave_serve.demo.training import train
from tests.support import demo_server

pytestmark = pytest.mark.engine
RECORDS = demo_dataset.SHIPPED_FOLDER / demo_dataset.RECORDS_FILE
MIN_GAIN = 0.6  # of the way from chance to all right


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, float]]:
    """The score of each category."""
    folder = tmp_path_factory.mktemp("evaluation")
    with demo_server.start(folder) as server:
        out = folder / "out"
        arguments = [
            str(RECORDS),
            "--out",
            str(out),
            "--base-url",
            f"{server.url}/v1",
        ]
        assert cli.main(arguments) == 0
        yield json.loads((out / "scores.json").read_text())["categories"]


def chances() -> dict[str, float]:
    """The chance level of each category: the mean over its datasets."""
    by_dataset: dict[tuple[str | None, str], float] = {}
    for record in loading.load_records([RECORDS]):
        assert record.chance is not None
        by_dataset[record.category, record.dataset] = record.chance
    return {
        category: fmean(chance for (other, _), chance in by_dataset.items() if other == category)
        for category in {dataset.category for dataset in demo_dataset.DATASETS}
    }


@pytest.mark.parametrize("category", sorted({dataset.category for dataset in demo_dataset.DATASETS}))
def test_every_category_of_the_demo_dataset_is_answered_far_above_chance(
    scores: dict[str, float], category: str
) -> None:
    chance = chances()[category]
    assert scores[category] >= chance + MIN_GAIN * (1 - chance), f"{scores[category]:.3f}, by guessing {chance:.3f}"


def test_the_checkpoint_has_a_token_for_every_word_of_the_dataset() -> None:
    bundled = tokenizer.load_or_train(train.CHECKPOINT)
    assert tokenizer.extend(bundled).get_vocab() == bundled.get_vocab()
