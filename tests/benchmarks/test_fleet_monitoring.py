"""What the dashboard asks is asked of Prometheus as Grafana would ask it."""

import httpx
import pytest

from llava_interleave_serve.benchmarks.fleet import monitoring
from tests.support.fleet import promql


def api(error_for: str = "nothing") -> httpx.Client:
    """Prometheus' API, which has one series for every query but those that name something."""

    def respond(request: httpx.Request) -> httpx.Response:
        query = request.url.params["query"]
        assert "$" not in query
        if error_for in query:
            return httpx.Response(400, json={"status": "error", "error": "bad data"})
        series = {"metric": {"instance": "a:1", "code": "overloaded"}, "values": [[0, "1"]]}
        return httpx.Response(200, json={"status": "success", "data": {"result": [series]}})

    return httpx.Client(transport=httpx.MockTransport(respond), base_url="http://prometheus/api/v1")


def test_every_panel_has_its_series_by_their_legends() -> None:
    with api() as client:
        panels, wrong = monitoring.drawn(client, 0.0, 60.0)
    assert wrong == []
    series = {panel["title"]: [each["legend"] for each in panel["series"]] for panel in panels}
    assert series["Refusals"] == ["overloaded"]
    assert series["Running and waiting"] == ["running a:1", "waiting a:1"]
    for panel in promql.panels():
        assert len(series[panel["title"]]) == len(panel["targets"])


@pytest.mark.parametrize("name", ["lis_refusals_total", "vllm:kv_cache_usage_perc"])
def test_a_query_that_cannot_be_evaluated_is_named_by_its_panel(name: str) -> None:
    with api(error_for=name) as client:
        _, wrong = monitoring.drawn(client, 0.0, 60.0)
    titles = {panel["title"] for panel in promql.panels() if any(name in target["expr"] for target in panel["targets"])}
    assert set(wrong) == {f"{title}: bad data" for title in titles}
