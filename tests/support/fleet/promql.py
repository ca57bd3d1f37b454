"""What the alert rules and the dashboard of deploy/ ask Prometheus."""

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import yaml

from tests.support.app_server import ROOT

FILES = ROOT / "deploy" / "chart" / "files"
HISTOGRAM = ("_bucket", "_count", "_sum")
# Variables of Grafana, and a value of each.
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}


def alerts() -> list[dict[str, Any]]:
    """The alert rules of all groups."""
    groups = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels that show something."""
    dashboard = json.loads((FILES / "dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> dict[str, str]:
    """The PromQL expressions by where they stand."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in alerts()}
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            found[f"panel {panel['title']}, {target['refId']}"] = expression
    return found


def selected(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The name and the equal labels of every series that the expression reads. Raises ValueError for no PromQL."""
    selectors: list[Any] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            selectors.append(node)

    promql_parser.walk(promql_parser.parse(expression), visit)
    for selector in selectors:
        matchers = selector.matchers.matchers
        yield selector.name, {each.name: each.value for each in matchers if each.op == promql_parser.MatchOp.Equal}


def exported(text: str) -> set[str]:
    """The names of the series that the text of /metrics describes."""
    kinds = re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE)
    return {f"{name}{suffix}" for name, kind in kinds for suffix in (HISTOGRAM if kind == "histogram" else ("",))}
