"""A measurement as a page to look at."""

from typing import Any

from llava_interleave_serve.benchmarks.load.reports import (
    page,
    plot_style,
    plots_latency,
    plots_rate,
    plots_timeline,
    terminal,
)
from llava_interleave_serve.benchmarks.load.reports.page import Cell

PLOTS = (
    (
        "rate",
        "Latency against rate",
        "Each point is a run of its own. Left: time to first token, its p99 marked by whether every class kept its "
        "target. Right: the share of each class's requests that were good. Shaded: where the highest rate lies.",
        plots_rate.against_rate,
    ),
    (
        "timeline",
        "Every request",
        "From when it was due: pale until its first token, full until its end. Below: requests in the server at once.",
        plots_timeline.timeline,
    ),
    (
        "distributions",
        "Distributions",
        "The share of requests (between two tokens: of all gaps) that took at most so long. A diamond is a class's "
        "target: its curve is to reach that share left of there.",
        plots_latency.distributions,
    ),
    (
        "phases",
        "Where the server says the time went",
        "Means of the phases that the server reports, one after the other. RequestTiming that overlap make a bar longer than "
        "what the client saw, which the dark line marks for the first token.",
        plots_latency.phases,
    ),
    (
        "repeats",
        "What was seen before",
        "The same class of request with media that are new, and, paler, with media that the server had been shown.",
        plots_latency.repeats,
    ),
)


def html(document: dict[str, Any]) -> str:
    """The page: one file, nothing from elsewhere."""
    work, server = document["workload"], document["server"]
    title = f"{work['name']} on {server['model']}"
    below = (
        work["description"],
        terminal.told(document),
        f"{server['url']}, {document['when'].replace('T', ' ').replace('+00:00', ' UTC')}",
    )
    drawn = (page.plot(title, caption, plot_style.svg(draw, document, name)) for name, title, caption, draw in PLOTS)
    return page.page(
        title,
        (
            page.heading(title, below),
            page.warning(document["client"]["warning"]),
            page.tiles(_tiles(document)),
            page.table("Classes", (*terminal.HEADERS, "target"), _classes(document)),
            *drawn,
            page.table("Errors", ("error", "requests"), [(e, str(n)) for e, n in document["all"]["errors"].items()]),
            page.table("Answers", ("class", "right", "asked", "share"), _probes(document)),
            page.table(
                "Answered otherwise under load", ("request", "class", "alone", "under load"), _differences(document)
            ),
            page.listing("Also", terminal.facts(document)),
        ),
    )


def _tiles(document: dict[str, Any]) -> dict[str, Cell]:
    numbers = document["all"]
    ttft, itl, rates = numbers["ttft"] or {}, numbers["itl"] or {}, numbers["rates"]
    failed = numbers["requests"] - numbers["answered"]
    tiles = {
        "requests that count": Cell(str(numbers["requests"])),
        "failed": Cell(str(failed), "bad" if failed else ""),
        "good": Cell("-" if numbers["good_share"] is None else f"{numbers['good_share']:.1%}"),
        "TTFT, median": Cell(terminal.seconds(ttft.get("p50"))),
        "TTFT, p99": Cell(terminal.seconds(ttft.get("p99"))),
        "between tokens, p99": Cell(terminal.seconds(itl.get("p99"))),
        "answered a second": Cell(_number(rates["requests"])),
        "tokens a second": Cell(_number(rates["tokens"])),
        "visual tokens a second": Cell(_number(rates["visual_tokens"])),
    }
    if document["verify"]:
        verified = document["verify"]
        same = verified["same"] == verified["of"]
        tiles["answered as alone"] = Cell(f"{verified['same']} of {verified['of']}", "good" if same else "bad")
    if document["probes"]:
        tiles["known answers right"] = Cell(f"{document['probes']['right']} of {document['probes']['of']}")
    if document["search"]:
        low, high = document["search"]["low"], document["search"]["high"]
        tiles["highest rate, a second"] = Cell(f"{_number(low)} - {_number(high)}")
    return tiles


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _classes(document: dict[str, Any]) -> list[list[Cell | str]]:
    rows: list[list[Cell | str]] = []
    series = plot_style.series(document)
    for cells, numbers in terminal.rows(document):
        row: list[Cell | str] = [*cells, _target(numbers.get("target"))]
        row[0] = Cell(cells[0], series=series.get(cells[0]))
        row[2] = Cell(cells[2], "" if cells[2] == "0" else "bad")
        if numbers.get("target"):
            row[3] = Cell(cells[3], "good" if numbers["met"] else "bad")
        rows.append(row)
    return rows


def _target(target: dict[str, float] | None) -> str:
    """What a class's requests must keep, in words: `TTFT 1 s, TPOT 150 ms`."""
    limits = {name: limit for name, limit in (target or {}).items() if name != "share"}
    return ", ".join(
        f"{name if name == 'e2e' else name.upper()} {plot_style.in_seconds(limit)}" for name, limit in limits.items()
    )


def _probes(document: dict[str, Any]) -> list[tuple[str, ...]]:
    classes = (document["probes"] or {"classes": {}})["classes"]
    return [
        (name, str(one["right"]), str(one["of"]), f"{one['right'] / one['of']:.1%}") for name, one in classes.items()
    ]


def _differences(document: dict[str, Any]) -> list[tuple[str, ...]]:
    different = (document["verify"] or {"different": []})["different"]
    return [(str(one["number"]), one["class"], one["alone"][:120], one["under_load"][:120]) for one in different]
