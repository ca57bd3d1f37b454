"""The end-to-end quality test: the shipped bench, asked of a running server as a user would, by the evaluator."""

import json
from collections.abc import Iterator
from statistics import fmean

import pytest

from llava_interleave_serve.benchmarks.evaluation import cli, demo_dataset
from llava_interleave_serve.benchmarks.evaluation.dataset import json_format
from llava_interleave_serve.demo import tokenizer
from llava_interleave_serve.demo.training import train
from tests.support import demo_server

pytestmark = pytest.mark.engine
FAR = 0.6  # of the way from chance to all right


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, float]]:
    """What each category scores."""
    folder = tmp_path_factory.mktemp("bench")
    with demo_server.start(folder) as server:
        out = folder / "out"
        arguments = [str(demo_dataset.FOLDER / demo_dataset.FILE), "--out", str(out), "--base-url", f"{server.url}/v1"]
        assert cli.main(arguments) == 0
        yield json.loads((out / "scores.json").read_text())["categories"]


def chances() -> dict[str, float]:
    """The chance level of each category: the mean over its data sets."""
    of_sets = {
        (one.category, one.data_set): one.chance for one in json_format.read([demo_dataset.FOLDER / demo_dataset.FILE])
    }
    return {
        category: fmean(chance for (other, _), chance in of_sets.items() if other == category)
        for category in {one.category for one in demo_dataset.DATA_SETS}
    }


@pytest.mark.parametrize("category", sorted({one.category for one in demo_dataset.DATA_SETS}))
def test_every_scenario_is_answered_far_above_chance(scores: dict[str, float], category: str) -> None:
    chance = chances()[category]
    assert scores[category] >= chance + FAR * (1 - chance), f"{scores[category]:.3f}, by guessing {chance:.3f}"


def test_the_checkpoint_has_a_token_for_every_word_of_the_bench() -> None:
    bundled = tokenizer.load_or_train(train.CHECKPOINT)
    assert tokenizer.extend(bundled).get_vocab() == bundled.get_vocab()
