"""The alert rules and the dashboard are well-formed, and read series that the server exports."""

import importlib.util
import json
import re
from pathlib import Path

import prometheus_client
import pytest

from llava_interleave_serve.server import admission, errors
from llava_interleave_serve.server.observability.timing import PHASES
from tests.support.fleet import promql

EXPRESSIONS = promql.expressions()


def vllm_series() -> set[str]:
    """Names of the series that vLLM's source gives its metrics, of histograms those with a suffix."""
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    source = (Path(spec.submodule_search_locations[0]) / "v1" / "metrics" / "loggers.py").read_text()
    names = set(re.findall(r'name="(vllm:[a-z_0-9]+)"', source))
    assert len(names) > 20
    return names | {f"{name}{suffix}" for name in names for suffix in ("_total", "_bucket", "_count", "_sum")}


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_an_expression_reads_series_that_exist(place: str) -> None:
    own = promql.exported(prometheus_client.generate_latest().decode())
    selected = {name for name, _ in promql.selected(EXPRESSIONS[place])}
    assert selected
    assert selected <= own | vllm_series()


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_the_values_of_labels_are_some_that_the_server_gives(place: str) -> None:
    codes = {str(each.code) for each in vars(errors).values() if isinstance(each, type) and hasattr(each, "code")}
    known = {"of": set(admission.Load._fields), "phase": set(PHASES), "code": codes}
    for _, labels in promql.selected(EXPRESSIONS[place]):
        for label, value in labels.items():
            assert value in known[label], (label, value)
    for value in re.findall(r'code=~"([^"]*)"', EXPRESSIONS[place]):
        assert set(value.split("|")) <= codes


def test_a_rule_says_what_it_means_and_how_bad_that_is() -> None:
    rules = promql.alerts()
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_panels_have_places_of_their_own_on_the_page() -> None:
    dashboard = json.loads((promql.FILES / "dashboard.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_what_is_no_promql_is_refused() -> None:
    with pytest.raises(ValueError, match="parenthes"):
        list(promql.selected("rate(lis_visuals_total"))


def test_series_are_read_from_the_text_of_the_metrics() -> None:
    text = '# HELP a_total x\n# TYPE a_total counter\na_total{code="x"} 1.0\n# TYPE vllm:b histogram\n'
    assert promql.exported(text) == {"a_total", "vllm:b_bucket", "vllm:b_count", "vllm:b_sum"}
