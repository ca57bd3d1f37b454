"""A comparison has the ratios of two reports, and says what was not measured alike."""

from llava_interleave_serve.benchmarks.load.reports import comparison
from llava_interleave_serve.benchmarks.load.reports.comparison import Pair
from llava_interleave_serve.benchmarks.load.results.aggregate import GroupNumbers
from llava_interleave_serve.benchmarks.load.results.report_data import Report
from tests.support.load.reports import report


def faster_with_fewer_tokens(numbers: GroupNumbers) -> GroupNumbers:
    assert numbers.ttft is not None
    assert numbers.rates.tokens is not None
    halves = {name: value / 2 for name, value in numbers.ttft.model_dump(exclude={"n"}).items()}
    rates = numbers.rates.model_copy(update={"tokens": numbers.rates.tokens / 4})
    return numbers.model_copy(update={"ttft": numbers.ttft.model_copy(update=halves), "rates": rates})


def pair(second: Report) -> Pair:
    return Pair(report(), second, ("a", "b"))


def test_ratios_are_of_the_second_report_to_the_first_and_say_which_is_better() -> None:
    second = report()
    classes = {name: faster_with_fewer_tokens(numbers) for name, numbers in second.classes.items()}
    second = second.model_copy(update={"all": faster_with_fewer_tokens(second.all), "classes": classes})
    rows = {(row.class_name, row.metric): (row.ratio, row.mood) for row in comparison.rows(pair(second))}
    assert rows["all", "TTFT p50"] == ("0.50", "good")
    assert rows["images", "tokens/s"] == ("0.25", "bad")
    assert rows["all", "ITL p99"] == ("1.00", "")


def test_differences_between_two_measurements_are_reported() -> None:
    second = report()
    workload = second.workload.model_copy(update={"seed": 5})
    second = second.model_copy(update={"workload": workload, "notes": ("3 x frames sent as images",)})
    sentences = comparison.differences(pair(second))
    assert "not alike: seed 0 and 5" in sentences
    assert "only of the second: 3 x frames sent as images" in sentences


def test_a_class_that_only_one_report_has_is_not_compared() -> None:
    second = report()
    second = second.model_copy(update={"classes": {"images": second.classes["images"]}})
    assert {row.class_name for row in comparison.rows(pair(second))} == {"images", "all"}


def test_the_text_of_a_comparison_has_a_row_for_each_metric() -> None:
    lines = comparison.render_text(pair(report(seed=1))).splitlines()
    assert lines[0].split() == ["class", "a", "b", "ratio"]
    assert len([line for line in lines if "TTFT p50" in line]) == 3
