"""Clients that run as scripts, in environments of their own: each step is what the client's users do first.

`make clients-check` runs all of them. In any other run only those without packages of their own do.
"""

import shutil
import sys
from pathlib import Path

import pytest

from tests.support.clients import environments, results
from tests.support.clients.registry import NODE_CLIENTS, OPENAI_PYTHON, PYTHON_CLIENTS, Client

pytestmark = pytest.mark.engine


def test_openai_python_is_served(task_file: Path, tmp_path: Path) -> None:
    result = results.run_script(OPENAI_PYTHON, [sys.executable, str(OPENAI_PYTHON.source), str(task_file)], tmp_path)
    assert result.steps
    assert not result.failures


@pytest.mark.clients
@pytest.mark.parametrize("client", PYTHON_CLIENTS, ids=lambda client: client.title)
def test_a_python_client_is_served(client: Client, task_file: Path, tmp_path: Path) -> None:
    assert client.environment is not None
    interpreter = environments.python(client.environment)
    result = results.run_script(client, [str(interpreter), str(client.source), str(task_file)], tmp_path)
    assert result.steps
    assert not result.failures


@pytest.mark.clients
@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm")
@pytest.mark.parametrize("client", NODE_CLIENTS, ids=lambda client: client.title)
def test_a_client_of_node_is_served(client: Client, task_file: Path, tmp_path: Path) -> None:
    script = environments.node() / client.source.name
    result = results.run_script(client, ["node", str(script), str(task_file)], tmp_path)
    assert result.steps
    assert not result.failures
