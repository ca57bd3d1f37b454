"""Writes the table of docs/clients.md from the results of the last runs: `python -m tests.support.clients.table`.

`make clients-check` runs the clients, and then this.
"""

import sys
from pathlib import Path

from tests.support.clients import registry, results
from tests.support.clients.results import Result

PAGE = Path(__file__).resolve().parents[3] / "docs" / "clients.md"
HEADING = "## What ran\n"
HEAD = "| client | version | what was done | result | date |\n|---|---|---|---|---|\n"


def table(found: list[Result]) -> str:
    """The table, a row for each result."""
    return HEAD + "".join(map(row, found))


def row(result: Result) -> str:
    """The row of a client: a version of one package stands alone, those of several have their names."""
    versions = list(result.versions.values())
    if len(versions) > 1:
        versions = [f"{name} {version}" for name, version in result.versions.items()]
    failures = [f"{title}: {cell(error)[:200]}" for title, error in result.failures.items()]
    end = "; ".join(failures) if failures else "all answered"
    return f"| {result.title} | {', '.join(versions)} | {'; '.join(result.steps)} | {end} | {result.date} |\n"


def cell(text: str) -> str:
    """The text in one cell of a table."""
    return " ".join(text.replace("|", "/").split())


def replace_table(page: str, new: str) -> str:
    """The page with another table below HEADING, up to the next heading."""
    before, heading, after = page.partition(HEADING)
    assert heading
    rest = after.partition("\n## ")
    return f"{before}{heading}\n{new}{''.join(rest[1:])}"


if __name__ == "__main__":
    runs = {client.title: results.load(client) for client in registry.ALL}
    missing = [title for title, result in runs.items() if result is None]
    if missing:
        sys.exit(f"not run: {', '.join(missing)}")
    PAGE.write_text(replace_table(PAGE.read_text(), table([result for result in runs.values() if result])))
