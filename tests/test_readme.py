"""The documentation is true: options, routes, metrics, files, commands, examples and links, and nothing is left out."""

import argparse
import importlib
import importlib.util
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase
from scripts.import_graph import PACKAGE

from llava_interleave_serve.benchmarks.load import cli as bench
from llava_interleave_serve.benchmarks.load.workload import schema
from llava_interleave_serve.server import app, errors, serve_options
from llava_interleave_serve.server.observability import metrics
from llava_interleave_serve.server.observability.visual_cache_metrics import VisualCacheMetrics
from llava_interleave_serve.server.prompt import chat_request, sampling_request

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")])
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
LOAD_TESTING = (ROOT / "docs" / "load-testing.md").read_text()
DOCS = README + (ROOT / "docs" / "http.md").read_text()
FOLDERS = (
    "server",
    "model_executor",
    "kernels",
    "demo",
    "benchmarks",
    "tests",
    "docs",
    "scripts",
    "requirements",
    "deploy",
)
# Paths that the documentation names as what was before, or that a command makes.
ABSENT = {"benchmarks/overload.py", "docs/bench.md", "tests/attacks"}


def test_every_option_is_documented_and_every_documented_option_exists() -> None:
    parser = argparse.ArgumentParser()
    serve_options.add_server_options(parser)
    ours = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    documented = set(re.findall(r"^\| `(--[a-z-]+)", DOCS, re.MULTILINE))
    assert documented == ours - {"--help"} | {"--allowed-local-media-path", "--served-model-name"}


def test_every_route_is_documented_and_every_documented_route_exists() -> None:
    served = {route.path for module in app.ROUTES for route in module.router.routes}
    documented = set(re.findall(r"^\| `(?:GET|POST) (/[^`]*)`", DOCS, re.MULTILINE))
    assert documented == {path.replace("{name:path}", "NAME") for path in served}


def test_every_metric_is_documented_and_every_documented_metric_exists() -> None:
    kinds = MetricWrapperBase | VisualCacheMetrics
    collectors = [value for value in vars(metrics).values() if isinstance(value, kinds)]
    served = {metric.name for collector in collectors for metric in collector.describe()}
    assert set(re.findall(r"^\| `(lis_[a-z_]+)`", DOCS, re.MULTILINE)) == served


def test_every_error_is_documented_with_its_status_and_type() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ServeError)]
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \| `(\w+)` \|", DOCS, re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == {(str(kind.status), kind.type, kind.code or "null") for kind in kinds}


def test_every_sampling_field_is_documented() -> None:
    assert [name for name in sampling_request.SAMPLING_FIELDS if f"`{name}`" not in DOCS] == []


def test_the_map_of_the_repository_names_every_folder_of_sources() -> None:
    block = re.search(r"## Where things are\n+```\n(.*?)```", ARCHITECTURE, re.DOTALL)
    assert block is not None
    named = {line.split()[0].rstrip("/") for line in block[1].splitlines() if not line.startswith(" ")}
    for path in named:
        assert (ROOT / path).exists(), path
    folders = {file.parent for top in ("server", "benchmarks") for file in (ROOT / top).glob("*/*.py")}
    shown = {(ROOT / path) for path in named} | {ROOT / "server" / "routes"}
    assert folders <= shown, folders - shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_path_in_a_page_exists(page: Path) -> None:
    text = page.read_text()
    for path in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+)`", text):
        assert (ROOT / path).exists() or path.rstrip("/") in ABSENT, path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_in_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_module_in_a_page_exists(page: Path) -> None:
    text = page.read_text()
    names = re.findall(rf"python3? -m ({PACKAGE}[\w.]+)", text)
    if page == ROOT / "README.md":  # its tables give the package's name once, in the heading
        names += [f"{PACKAGE}.{name}" for name in re.findall(r"\| `((?:benchmarks|demo)\.[\w.]+)` \|", text)]
        assert len(names) > 5
    for name in names:
        assert importlib.util.find_spec(name.rstrip(".")) is not None, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_import_in_a_page_works(page: Path) -> None:
    for module, names in re.findall(rf"^.*\bfrom ({PACKAGE}[\w.]+) import ([\w, ]+)$", page.read_text(), re.MULTILINE):
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_make_target_in_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= targets


def test_the_examples_are_valid_requests() -> None:
    examples = re.findall(r"```json\n(.*?)```", DOCS, re.DOTALL)
    assert examples
    for example in examples:
        chat_request.parse(json.loads(example))


def test_every_option_of_the_load_test_is_documented_and_every_documented_one_exists() -> None:
    options = {option for action in bench.parser()._actions for option in action.option_strings}
    documented = set(re.findall(r"^\| `(--[a-z-]+)", LOAD_TESTING, re.MULTILINE))
    assert documented == options - {"-h", "--help"}


def test_every_preset_is_documented() -> None:
    table = LOAD_TESTING.partition("| preset |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z-]+)`", table, re.MULTILINE)) == set(schema.preset_names())


def test_the_commands_and_the_workload_of_the_load_test_are_valid() -> None:
    commands = re.findall(r"^llava-interleave bench (?!compare)(.*)$", LOAD_TESTING, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        schema.load(bench.parse(shlex.split(command))[0].workload)
    (example,) = re.findall(r"```toml\n(.*?)```", LOAD_TESTING, re.DOTALL)
    assert len(schema.parse(tomllib.loads(example)).classes) == 2
