"""The table of docs/clients.md is that of the clients, the steps and the locked versions here."""

import json
import re

import pytest

from tests.support.clients import registry, table
from tests.support.clients.registry import ALL, NODE, REQUIREMENTS, Client
from tests.support.clients.results import Result

ROWS = dict(re.findall(r"^\| ([^|]+?) \| (.*) \|$", table.PAGE.read_text(), re.MULTILINE))


def test_every_client_has_a_row_and_every_row_a_client() -> None:
    assert set(ROWS) - {"client"} == {client.title for client in ALL}


@pytest.mark.parametrize("client", [each for each in ALL if each.script], ids=lambda client: client.title)
def test_a_row_says_what_the_clients_script_does(client: Client) -> None:
    steps = re.findall(r'step\(\s*"(.+?)"', client.source.read_text())
    assert steps
    assert ROWS[client.title].split(" | ")[1] == "; ".join(steps)


@pytest.mark.parametrize("client", [each for each in ALL if each.environment], ids=lambda client: client.title)
def test_a_row_has_the_locked_versions(client: Client) -> None:
    shown = ROWS[client.title].partition(" | ")[0]
    if client in registry.NODE_CLIENTS:
        packages = json.loads((NODE / "package-lock.json").read_text())["packages"]
        locked = [packages[f"node_modules/{name}"]["version"] for name in client.packages]
    else:
        lock = (REQUIREMENTS / f"{client.environment}.txt").read_text()
        locked = [re.findall(rf"^{name}==(\S+)$", lock, re.MULTILINE | re.IGNORECASE)[0] for name in client.packages]
    assert re.findall(r"\d[\d.]+", shown) == locked


def test_a_failed_step_is_in_the_row() -> None:
    result = Result("a client", {"package": "1.0"}, {"one": None, "two": "an | error\nof two lines"}, "2026-01-31")
    assert table.row(result) == "| a client | 1.0 | one; two | two: an / error of two lines | 2026-01-31 |\n"


def test_another_table_leaves_the_rest_of_the_page_as_it_is() -> None:
    page = f"# A\n\n{table.HEADING}\n| old |\n\n## B\n\ntext\n"
    assert table.replace_table(page, "| new |\n") == f"# A\n\n{table.HEADING}\n| new |\n\n## B\n\ntext\n"
