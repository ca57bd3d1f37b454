"""Tables of text: with aligned columns for a terminal, or in Markdown."""

from collections.abc import Sequence

Row = Sequence[str]


def _column_widths(rows: Sequence[Row]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _justify(row: Row, widths: Sequence[int]) -> list[str]:
    """Pads the first cell on the right and the others on the left."""
    return [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]


def aligned(rows: Sequence[Row]) -> list[str]:
    """Lines of equally wide columns, two spaces apart: the first set left, the others right.

    Rows have the same number of cells, one or more.
    """
    widths = _column_widths(rows)
    return ["  ".join(_justify(row, widths)).rstrip() for row in rows]


def markdown(header: Row, rows: Sequence[Row]) -> str:
    """A Markdown table that is aligned as text too: the first column set left, the others right."""
    widths = _column_widths([header, *rows])
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join("| " + " | ".join(_justify(row, widths)) + " |" for row in (header, rule, *rows))
