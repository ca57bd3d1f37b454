"""A measurement as a table for a terminal."""

from collections.abc import Sequence
from typing import Any

HEADERS = (
    "class", "requests", "failed", "good", "TTFT p50", "p90", "p99", "ITL p50", "p99", "TPOT p50", "e2e p50", "p99"
)  # fmt: skip


def seconds(value: float | None) -> str:
    """`12 ms`, `1.23 s`, or a dash."""
    if value is None:
        return "-"
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"


def of(document: dict[str, Any]) -> str:
    """Rows by class and for all, then rates, answers, errors and warnings, a line each."""
    lines = [HEADERS, *(cells for cells, _ in rows(document))]
    heading = f"{document['workload']['name']} on {document['server']['model']} at {document['server']['url']}"
    return "\n".join([f"{heading}: {told(document)}", "", *aligned(lines), "", *facts(document)])


def told(document: dict[str, Any]) -> str:
    """The arrivals, in words."""
    arrivals = document["arrivals"]
    numbers = [
        f"{name.replace('_', ' ')} {_told(name, value)}" for name, value in arrivals.items() if name != "process"
    ]
    return ", ".join([f"{arrivals['process']} arrivals", *numbers])


def _told(name: str, value: Any) -> str:
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return shown + {"duration": " s", "rate": "/s", "rate_to": "/s"}.get(name, "")


def rows(document: dict[str, Any]) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """A row of cells a class, and one for all if there are several; each with the numbers it shows."""
    named = dict(document["classes"])
    if len(named) > 1:
        named["all"] = document["all"]
    return [(_row(name, numbers), numbers) for name, numbers in named.items()]


def _row(name: str, numbers: dict[str, Any]) -> tuple[str, ...]:
    def quantiles(measure: str, *which: str) -> list[str]:
        spread = numbers[measure] or {}
        return [seconds(spread.get(one)) for one in which]

    failed = numbers["requests"] - numbers["answered"]
    share = "-" if numbers["good_share"] is None else f"{numbers['good_share']:.1%}"
    missed = " missed" if numbers.get("target") and not numbers["met"] else ""
    return (
        name,
        str(numbers["requests"]),
        str(failed),
        share + missed,
        *quantiles("ttft", "p50", "p90", "p99"),
        *quantiles("itl", "p50", "p99"),
        *quantiles("tpot", "p50"),
        *quantiles("e2e", "p50", "p99"),
    )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(pairs)
        ).rstrip()
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]


def facts(document: dict[str, Any]) -> list[str]:
    """What the table does not show, a sentence each."""
    rates = document["all"]["rates"]
    shown = [(name, value) for name, value in rates.items() if value is not None and name != "offered"]
    lines = ["a second: " + ", ".join(f"{value:.4g} {name.replace('_', ' ')}" for name, value in shown)]
    phases = [(name, spread["p50"]) for name, spread in document["all"]["phases"].items() if spread]
    if phases:
        lines.append("phases, p50: " + ", ".join(f"{name} {seconds(value)}" for name, value in phases))
    for error, number in document["all"]["errors"].items():
        lines.append(f"failed: {number} x {error}")
    if document["all"]["retry_after"]:
        lines.append(f"Retry-After: {', '.join(document['all']['retry_after'])}")
    if document["verify"]:
        lines.append(verified(document["verify"]))
    if document["probes"]:
        lines.append(f"probes: {document['probes']['right']} of {document['probes']['of']} right")
    lines += [f"left out: {number} x {why}" for why, number in document["left_out"].items()]
    lines += [f"note: {note}" for note in document["notes"]]
    if document["search"]:
        lines.append(found(document["search"]))
    if document["client"]["warning"]:
        lines.append(f"WARNING: {document['client']['warning']}")
    return lines


def verified(verify: dict[str, Any]) -> str:
    """What asking alone came to, as a sentence."""
    unanswered = verify["asked"] - verify["of"]
    more = f" ({unanswered} more were not answered twice)" if unanswered else ""
    return f"verify: {verify['same']} of {verify['of']} requests were answered under load as alone{more}"


def found(search: dict[str, Any]) -> str:
    """What a search came to, as a sentence."""
    low, high, number = search["low"], search["high"], len(search["points"])
    if low is None:
        return f"search: no rate down to {high:.4g}/s keeps every class within its target ({number} runs)"
    if high is None:
        return f"search: every rate up to {low:.4g}/s keeps every class within its target ({number} runs)"
    return f"search: the highest rate within every target is {low:.4g}/s, less than {high:.4g}/s ({number} runs)"
