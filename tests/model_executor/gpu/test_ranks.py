"""Two tensor parallel ranks on this CPU, in both modes of the tower and in encoder graphs, give what one gives."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

# Of the largest value: sums over two ranks have other parts, a few roundings of float32 (6e-8) in each of five layers.
ALLOWED = 1e-5


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.gpu.ranks"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("mode", ["weights", "data", "graphs"])
def test_the_rows_of_two_ranks_are_those_of_one(report: dict[str, Any], mode: str) -> None:
    assert {name for name in report if name.startswith(mode)} == {f"{mode} {count}" for count in (1, 2, 3, 5)}
    for count in (1, 2, 3, 5):
        assert report[f"{mode} {count}"]["difference"] <= ALLOWED


def test_each_rank_encodes_all_views_or_its_share_of_them(report: dict[str, Any]) -> None:
    assert [report[f"weights {count}"]["views"] for count in (1, 2, 3, 5)] == [[[n], [n]] for n in (1, 2, 3, 5)]
    assert [report[f"data {count}"]["views"] for count in (1, 2, 3, 5)] == [[[n], [n]] for n in (1, 1, 2, 3)]


def test_each_rank_replays_graphs_for_its_share_and_one_may_have_none(report: dict[str, Any]) -> None:
    shares = {count: report[f"graphs {count}"]["views"] for count in (1, 2, 3, 5)}
    assert shares == {1: [[1], []], 2: [[1], [1]], 3: [[2], [1]], 5: [[2, 1], [2]]}


def test_rows_that_ranks_exchange_keep_nothing_alive_beside_themselves(report: dict[str, Any]) -> None:
    assert {tuple(report[f"graphs {count}"]["kept"]) for count in (1, 2, 3, 5)} == {(0, 0)}
