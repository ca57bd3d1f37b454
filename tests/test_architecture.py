"""Imports between the parts keep to the rules, in the syntax trees and in fresh processes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import import_graph
from scripts.import_graph import PACKAGE, ROOT, graph, imported_names, python_files

# In each of these orders a node imports only from its left.
PARTS_ORDER = (
    "kernels", "model_executor", "demo", "benchmarks/openai_api", "benchmarks/reporting", "benchmarks/load",
    "benchmarks/evaluation", "server", "benchmarks/lmms_eval", "benchmarks/kernels", "benchmarks/model",
    "benchmarks/media", "benchmarks/server", "benchmarks/peers", "benchmarks/fleet", "benchmarks/gpu_check",
)  # fmt: skip
SERVER_ORDER = (
    "errors", "cpus", "limits", "observability", "admission", "engine", "media", "prompt", "config", "http", "openapi",
    "body", "request_context", "sse", "routes", "app", "start_output", "health_check", "run", "serve_options",
    "checkpoint_files", "dry_run", "cli", "ray_serve",
)  # fmt: skip
LOAD_ORDER = ("options", "progress", "workload", "requests", "client", "results", "reports", "benchmark", "cli")
EVALUATION_ORDER = (
    "dataset", "prompts", "answer_store", "scoring", "client", "options", "run", "reports", "ablation", "cli",
)  # fmt: skip
# What a part may import of others; the demo and the kernels import nothing.
MAY_IMPORT = {
    "kernels": (),
    "demo": (),
    "model_executor": ("kernels/",),
    "benchmarks/openai_api": (),
    "benchmarks/reporting": (),
    "benchmarks/load": ("benchmarks/openai_api/", "benchmarks/reporting/", "demo/scenes/"),
    "benchmarks/evaluation": ("benchmarks/openai_api/", "benchmarks/reporting/", "demo/scenes/"),
    "server": (
        "model_executor/visual",
        "model_executor/any_resolution",
        "model_executor/parent_death",
        "model_executor/encoder_limits",
        "model_executor/visual_counters",
    ),
}
COMMANDS = {"benchmarks/load/cli", "benchmarks/evaluation/cli"}  # which server/cli.py hands over to
MAY_IMPORT_VLLM = {
    "server/engine/vllm_compat.py",
    "model_executor/vllm_compat.py",
    # Of the model, the public layers and registries that vLLM documents for models of one's own.
    "model_executor/plugin.py",
    "model_executor/model.py",
    "model_executor/projector.py",
    "model_executor/vision_tower.py",
    # Subclasses of vLLM's worker and scheduler of a CPU; the first can be imported on that platform alone.
    "model_executor/cpu/pipeline_worker.py",
    "model_executor/cpu/fair_scheduler.py",
}
MOST_LINES, MOST_MODULES = 300, 16
SOURCES = (*import_graph.PARTS, "scripts", "tests")


def imported_modules(file: Path) -> set[str]:
    """The modules of this package that a file imports, as paths without suffix."""
    return {path for name in imported_names(file) if (path := import_graph.module_path(name)) is not None}


@pytest.mark.parametrize(
    ("folder", "order"),
    [
        ("", PARTS_ORDER),
        ("server", SERVER_ORDER),
        ("benchmarks/load", LOAD_ORDER),
        ("benchmarks/evaluation", EVALUATION_ORDER),
    ],
    ids=["parts", "server", "load", "evaluation"],
)
def test_imports_between_modules_go_one_way(folder: str, order: tuple[str, ...]) -> None:
    nodes = [f"{folder}/{name}".strip("/") for name in order]
    arrows = graph((folder,) if folder else ("benchmarks",))
    inside = {node for node in arrows if node.startswith(f"{folder}/") or not folder}
    unordered = {node for node in inside if node not in nodes}
    # A module that nothing of its folder imports may stand anywhere.
    assert not {target for node in inside for target in arrows[node]} & unordered
    for node in inside - unordered:
        commands = {"benchmarks/load", "benchmarks/evaluation"} if node == "server" else set()
        right = {
            target for target in arrows[node] - commands if target in nodes and nodes.index(target) > nodes.index(node)
        }
        assert not right, f"{node} imports from its right: {right}"


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_allowed_modules_of_other_parts(part: str) -> None:
    for file in python_files(part):
        others = {path for path in imported_modules(file) if not path.startswith(f"{part}/")}
        if file == ROOT / "server" / "cli.py":
            assert others >= COMMANDS
            others -= COMMANDS
        wrong = {path for path in others if not path.startswith(MAY_IMPORT[part])}
        assert not wrong, f"{file}: {wrong}"


def test_only_measurements_import_the_server() -> None:
    may = ("server/", "benchmarks/media/", "benchmarks/server/", "benchmarks/fleet/")
    for part in import_graph.PARTS:
        for file in python_files(part):
            if any(path.startswith("server/") for path in imported_modules(file)):
                assert file.relative_to(ROOT).as_posix().startswith(may), file


def test_only_known_answers_import_the_demos_questions_when_the_load_test_starts() -> None:
    for file in python_files("benchmarks/load"):
        top = {name for name in imported_names(file) if name.startswith(f"{PACKAGE}.demo")}
        if top and file.name != "known_answers.py":
            for line in file.read_text().splitlines():
                assert not re.match(rf"(from|import) {PACKAGE}\.demo", line), file


def test_no_fast_implementation_of_a_kernel_imports_the_reference() -> None:
    for file in python_files("kernels"):
        assert "kernels/reference" not in imported_modules(file), file


def test_errors_and_media_import_no_http_library() -> None:
    for folder in ("server/media", "server/prompt", "server/engine", "server/observability"):
        for file in python_files(folder):
            assert not {name for name in imported_names(file) if name.split(".")[0] in ("fastapi", "starlette")}, file
    for name in ("errors.py", "limits.py", "config.py", "admission.py"):
        names = imported_names(ROOT / "server" / name)
        assert not {each for each in names if each.split(".")[0] in ("fastapi", "starlette")}, name


def test_vllms_modules_are_imported_in_few_places() -> None:
    for part in import_graph.PARTS:
        for file in python_files(part):
            if part != "benchmarks" and any(name.split(".")[0] == "vllm" for name in imported_names(file)):
                assert file.relative_to(ROOT).as_posix() in MAY_IMPORT_VLLM, file


def test_vllms_own_llava_classes_are_never_imported() -> None:
    for part in import_graph.PARTS:
        for file in python_files(part):
            assert not [name for name in imported_names(file) if "models.llava" in name or "torchvision" in name], file


def test_the_source_folders_are_namespace_packages() -> None:
    for part in import_graph.PARTS:
        assert not list((ROOT / part).rglob("__init__.py")), part


def test_no_file_is_too_long_and_no_folder_has_too_many_modules() -> None:
    for part in SOURCES:
        for file in python_files(part):
            assert len(file.read_text().splitlines()) <= MOST_LINES, file
        for folder in {file.parent for file in python_files(part)}:
            assert len(list(folder.glob("*.py"))) <= MOST_MODULES, folder


def test_the_pictures_in_the_documentation_are_the_import_graph() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for title, opened in import_graph.PICTURES.items():
        assert f"### {title}\n\n{import_graph.mermaid(opened)}\n" in text, "python scripts/import_graph.py prints it"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("model_executor.visual", ("torch", "vllm", "transformers")),
        ("model_executor.any_resolution", ("torch", "vllm", "transformers")),
        ("model_executor.plugin", ("torch", "vllm", "transformers")),
        ("server.cli", ("vllm", "transformers")),
        ("server.app", ("vllm", "transformers", "av")),
        ("benchmarks.load.cli", ("torch", "vllm", "transformers", "matplotlib", "openai", "cv2", "av")),
    ],
)
def test_importing_a_module_loads_no_library_that_it_does_not_use(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {PACKAGE}.{module}; print([name for name in {absent!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
