"""The report on a terminal is a table and sentences."""

import pytest

from llava_interleave_serve.benchmarks.load.reports import terminal
from llava_interleave_serve.benchmarks.load.results.rate_search import SearchResult
from llava_interleave_serve.benchmarks.load.results.report_data import Arrivals
from tests.support.load.reports import report


def test_the_terminal_table_has_a_row_for_each_class_and_one_for_all() -> None:
    text = terminal.render(report(searched=True))
    first_cells = [line.split("  ")[0] for line in text.splitlines()]
    assert {"class", "text <b>", "images", "all"} <= set(first_cells)
    for sentence in (
        "failed: 6 x 429 <busy>",
        "Retry-After: 3",
        "verify: 7 of 8 requests were answered under load as alone (1 more were not answered twice)",
        "note: a note",
        "the highest rate within every target is 2/s, less than 3/s (4 runs)",
    ):
        assert sentence in text


def test_the_terminal_report_names_the_environment_if_it_is_known() -> None:
    measured = report()
    assert measured.environment is not None
    assert f"client: llava-interleave-serve {measured.environment.version}, Python 3" in terminal.render(measured)
    assert "client:" not in terminal.render(measured.model_copy(update={"environment": None}))


def test_the_headers_of_the_terminal_table_name_a_latency_once() -> None:
    assert terminal.headers() == [
        "class", "requests", "failed", "good", "TTFT p50", "p90", "p99", "ITL p50", "p99", "TPOT p50", "e2e p50", "p99",
    ]  # fmt: skip
    assert terminal.headers()[terminal.FAILED] == "failed"
    assert terminal.headers()[terminal.GOOD] == "good"


def test_a_missed_target_stands_in_the_terminal_row_of_its_class() -> None:
    cells = {row[0]: row[terminal.GOOD] for row in terminal.rows(report())}
    assert cells["text <b>"].endswith("% missed")
    assert not cells["images"].endswith("missed")
    assert not cells["all"].endswith("missed")


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [(None, 1.0, "no rate down to 1/s"), (8.0, None, "every rate up to 8/s"), (2.0, 3.0, "is 2/s, less than 3/s")],
)
def test_the_outcome_of_a_rate_search_is_a_sentence(low: float | None, high: float | None, sentence: str) -> None:
    assert sentence in terminal.describe_search(SearchResult(low=low, high=high, precision=0.1, points=()))


@pytest.mark.parametrize(
    ("arrivals", "words"),
    [
        (Arrivals(process="poisson", duration=60.0, rate=4.0), "poisson arrivals, duration 60 s, rate 4/s"),
        (Arrivals(process="closed", requests=9, concurrency=2), "closed arrivals, requests 9, concurrency 2"),
        (
            Arrivals(process="ramp", duration=9.0, rate=1.0, rate_to=2.5),
            "ramp arrivals, duration 9 s, rate 1/s, rate to 2.5/s",
        ),
        (Arrivals(process="trace", trace="a.jsonl"), "trace arrivals, trace a.jsonl"),
    ],
)
def test_arrivals_are_described_with_their_parameters(arrivals: Arrivals, words: str) -> None:
    assert terminal.describe_arrivals(arrivals) == words
