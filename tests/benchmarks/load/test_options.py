"""Options of a load test are the configuration of a measurement."""

from typing import Any

import pytest

from llava_interleave_serve.benchmarks.load.options import Options


def options(**fields: Any) -> Options:
    return Options(url="", workload="", **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cv": 3.0}, "--cv is for --arrivals gamma, not poisson"),
        ({"given": frozenset({"concurrency"})}, "--concurrency is for --arrivals closed, not poisson"),
        ({"rate": 2.0, "arrivals": "closed", "requests": 3}, "--rate is for --arrivals poisson or gamma"),
        ({"arrivals": "ramp", "rate_to": 3.0}, "a ramp needs --rate-to and --duration"),
        ({"arrivals": "trace"}, "--arrivals trace needs --trace"),
        ({"arrivals": "closed"}, "--arrivals closed needs --requests"),
        ({"most_points": 3}, "--most-points is for --search"),
        ({"arrivals": "closed", "requests": 3, "search": True}, "a search needs"),
        ({"warmup": 4.0, "duration": 4.0}, "--warmup ends after --duration"),
    ],
)
def test_contradictory_load_test_options_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options(**fields)


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        ({"duration": 30.0}, {"process": "poisson", "duration": 30.0, "rate": 1.0}),
        ({"arrivals": "gamma", "cv": 3.0}, {"process": "gamma", "rate": 1.0, "cv": 3.0}),
        (
            {"arrivals": "ramp", "rate_to": 3.0, "duration": 9.0},
            {"process": "ramp", "duration": 9.0, "rate": 1.0, "rate_to": 3.0},
        ),
        ({"arrivals": "closed", "requests": 3}, {"process": "closed", "requests": 3, "concurrency": 8}),
        ({"arrivals": "trace", "trace": "a.jsonl"}, {"process": "trace", "trace": "a.jsonl"}),
    ],
)
def test_a_report_has_the_settings_that_its_arrival_process_reads(
    fields: dict[str, Any], settings: dict[str, object]
) -> None:
    assert options(**fields).arrival_settings == settings
