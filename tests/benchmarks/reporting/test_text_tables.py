"""Text tables have aligned columns."""

from llava_interleave_serve.benchmarks.reporting import text_tables

ROWS = [("name", "n", "score"), ("a", "10", "1.00"), ("longer name", "2", "")]


def test_the_columns_of_a_text_table_are_aligned_with_the_first_to_the_left() -> None:
    assert text_tables.aligned(ROWS) == [
        "name          n  score",
        "a            10   1.00",
        "longer name   2",
    ]


def test_a_markdown_table_is_aligned_as_text_too() -> None:
    assert text_tables.markdown(ROWS[0], ROWS[1:]).splitlines() == [
        "| name        |  n | score |",
        "| :---------- | -: | ----: |",
        "| a           | 10 |  1.00 |",
        "| longer name |  2 |       |",
    ]


def test_a_markdown_table_without_rows_is_its_header() -> None:
    assert text_tables.markdown(("a", "b"), []) == "| a | b |\n| : | : |"
