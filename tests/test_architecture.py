"""Which part may know of which: read from the syntax tree, and from what a fresh process has imported."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "llava_interleave_serve"
PARTS = ("server", "model_executor", "kernels", "demo", "benchmarks/load")
SERVER_MAY_IMPORT = {f"{PACKAGE}.model_executor.visual"}
BENCHMARKS_MAY_IMPORT = (
    "benchmarks.load.",
    "benchmarks.openai_api.",
    "demo.scenes.",
    "demo.questions.",
    "demo.evaluate.",
)
MAY_IMPORT_VLLM = {
    "server/engine/vllm_compat.py",
    "model_executor/vllm_compat.py",
    # Of the model, the public layers and registries that vLLM documents for models of one's own.
    "model_executor/plugin.py",
    "model_executor/model.py",
    "model_executor/projector.py",
    "model_executor/vision_tower.py",
}


def files(part: str) -> Iterator[Path]:
    yield from sorted((ROOT / part).rglob("*.py"))


def imports(file: Path) -> set[str]:
    """Every module that a file imports, wherever in it, as `package.module`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide what is imported"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(file: Path, part: str) -> set[str]:
    return {name for name in imports(file) if name.startswith(f"{PACKAGE}.{part}")}


def test_the_server_knows_of_the_model_only_what_a_visual_is() -> None:
    for file in files("server"):
        for name in ours(file, "model_executor"):
            assert any(name.startswith(allowed) for allowed in SERVER_MAY_IMPORT), f"{file}: {name}"


def test_nothing_but_the_server_imports_the_server() -> None:
    for part in ("model_executor", "kernels", "demo", "benchmarks/load"):
        for file in files(part):
            assert not ours(file, "server"), file


def test_the_model_knows_nothing_of_the_demo() -> None:
    for part in ("model_executor", "server"):
        for file in files(part):
            assert not ours(file, "demo"), file


def test_the_load_test_knows_the_server_by_http_alone_and_of_the_demo_its_scenes_and_questions() -> None:
    allowed = tuple(f"{PACKAGE}.{one}" for one in BENCHMARKS_MAY_IMPORT)
    for file in files("benchmarks/load"):
        for name in ours(file, ""):
            assert f"{name}.".startswith(allowed), f"{file}: {name}"


def test_the_server_knows_of_other_commands_only_where_they_begin() -> None:
    for file in files("server"):
        names = ours(file, "benchmarks")
        commands = {f"{PACKAGE}.benchmarks.{name}" for name in ("load.cli", "evaluation.cli")}
        expected = commands if file == ROOT / "server" / "cli.py" else set()
        assert names == expected, file


def test_the_kernels_know_nothing_of_ours_but_themselves() -> None:
    for file in files("kernels"):
        names = {name for name in imports(file) if name.startswith(PACKAGE)}
        assert all(name.startswith(f"{PACKAGE}.kernels") for name in names), file


def test_no_fast_implementation_leans_on_the_reference() -> None:
    for file in files("kernels"):
        assert not ours(file, "kernels.reference"), file


def test_the_evaluation_knows_servers_only_by_http() -> None:
    for file in files("benchmarks/evaluation"):
        for part in ("server", "model_executor", "kernels"):
            assert not ours(file, part), file


def test_vllm_is_imported_where_it_is_kept() -> None:
    for part in PARTS:
        for file in files(part):
            if any(name.split(".")[0] == "vllm" for name in imports(file)):
                assert file.relative_to(ROOT).as_posix() in MAY_IMPORT_VLLM, file


def test_vllms_own_llava_classes_are_never_imported() -> None:
    for part in PARTS:
        for file in files(part):
            assert not [name for name in imports(file) if "models.llava" in name or "torchvision" in name], file


def test_the_folders_are_namespace_packages() -> None:
    for part in PARTS:
        assert not list((ROOT / part).rglob("__init__.py")), part


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("model_executor.visual", ("torch", "vllm", "transformers")),
        ("model_executor.plugin", ("torch", "vllm", "transformers")),
        ("server.cli", ("vllm", "transformers")),
        ("server.app", ("vllm", "transformers", "av")),
        ("benchmarks.load.cli", ("torch", "vllm", "transformers", "matplotlib", "openai", "cv2", "av")),
    ],
)
def test_a_module_does_not_pay_for_what_it_does_not_use(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {PACKAGE}.{module}; print([name for name in {absent!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
