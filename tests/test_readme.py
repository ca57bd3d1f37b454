"""The documentation names every option, route, metric and file, and only those that exist."""

import argparse
import json
import re
import shlex
import tomllib
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from llava_interleave_serve.benchmarks.load import cli as bench
from llava_interleave_serve.benchmarks.load.workload import schema
from llava_interleave_serve.server import app, cli
from llava_interleave_serve.server.observability import metrics

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BENCH = (ROOT / "docs" / "load-testing.md").read_text()
DOCS = README + (ROOT / "docs" / "http.md").read_text()


def test_every_option_is_documented_and_every_documented_option_exists() -> None:
    parser = argparse.ArgumentParser()
    cli.add_server_options(parser)
    ours = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    documented = set(re.findall(r"^\| `(--[a-z-]+)", DOCS, re.MULTILINE))
    assert documented == ours - {"--help"} | {"--allowed-local-media-path", "--served-model-name"}


def test_every_route_is_documented_and_every_documented_route_exists() -> None:
    served = {route.path for module in app.ROUTES for route in module.router.routes}
    documented = set(re.findall(r"^\| `(?:GET|POST) (/[^`]*)`", DOCS, re.MULTILINE))
    assert documented == {path.replace("{name:path}", "NAME") for path in served}


def test_every_metric_is_documented_and_every_documented_metric_exists() -> None:
    collectors = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    served = {metric.name for collector in collectors for metric in collector.describe()}
    assert set(re.findall(r"^\| `(lis_[a-z_]+)`", DOCS, re.MULTILINE)) == served


def test_the_file_map_of_the_documentation_names_existing_files() -> None:
    block = re.search(r"## Where things are\n+```\n(.*?)```", README, re.DOTALL)
    assert block is not None
    named = [line.split()[0] for line in block[1].splitlines()]
    assert named
    for path in named:
        assert (ROOT / path).exists(), path


def test_the_examples_of_the_documentation_are_valid_requests() -> None:
    from llava_interleave_serve.server.prompt import chat_request

    examples = re.findall(r"```json\n(.*?)```", DOCS, re.DOTALL)
    assert examples
    for example in examples:
        chat_request.parse(json.loads(example))


def test_links_of_the_documentation_lead_to_existing_files() -> None:
    for folder, text in ((ROOT, README), (ROOT / "docs", BENCH)):
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (folder / target).exists(), target


def test_every_option_of_the_load_test_is_documented_and_every_documented_one_exists() -> None:
    options = {option for action in bench.parser()._actions for option in action.option_strings}
    documented = set(re.findall(r"^\| `(--[a-z-]+)", BENCH, re.MULTILINE))
    assert documented == options - {"-h", "--help"}


def test_every_preset_of_the_load_test_is_documented() -> None:
    table = BENCH.partition("| preset |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z-]+)`", table, re.MULTILINE)) == set(schema.preset_names())


def test_the_documented_commands_and_workload_of_the_load_test_are_valid() -> None:
    commands = re.findall(r"^llava-interleave bench (?!compare)(.*)$", BENCH, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        schema.load(bench.parse(shlex.split(command))[0].workload)
    (example,) = re.findall(r"```toml\n(.*?)```", BENCH, re.DOTALL)
    assert len(schema.parse(tomllib.loads(example)).classes) == 2
