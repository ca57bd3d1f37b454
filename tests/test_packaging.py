"""The wheel holds the modules and data files of the package, and nothing else."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from llava_interleave_serve.server.media.native import build

ROOT = Path(__file__).resolve().parent.parent
INSTALLED = ("evaluation", "load", "openai_api", "reporting")  # folders of benchmarks/ that are in the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    code = f"import os; os.chdir({str(ROOT)!r}); from hatchling.build import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(file).namelist())


def test_the_wheel_holds_every_module(wheel: set[str]) -> None:
    for part in ("server", "model_executor", "kernels", "demo", *(f"benchmarks/{name}" for name in INSTALLED)):
        for file in (ROOT / part).rglob("*.py"):
            assert f"llava_interleave_serve/{file.relative_to(ROOT).as_posix()}" in wheel


def test_the_wheel_holds_the_demo_checkpoint(wheel: set[str]) -> None:
    for file in ("config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"):
        assert f"llava_interleave_serve/demo/checkpoint/{file}" in wheel


def test_the_wheel_holds_the_data_files_that_modules_read(wheel: set[str]) -> None:
    files = ["server/prompt/token_budget.json", "benchmarks/evaluation/reports/report.html.jinja"]
    files += [f"benchmarks/reporting/{name}" for name in ("style.css", "base.html.jinja", "macros.html.jinja")]
    files += [f"benchmarks/load/reports/{name}.html.jinja" for name in ("report", "comparison")]
    files += [f"server/media/native/{name}" for name in build.SOURCES]
    for file in files:
        assert f"llava_interleave_serve/{file}" in wheel


@pytest.mark.parametrize("folder", ["server/playground", "server/http/pages"])
def test_the_wheel_holds_every_file_of_the_pages(wheel: set[str], folder: str) -> None:
    files = [file for file in (ROOT / folder).rglob("*") if file.is_file()]
    assert len(files) > 2
    for file in files:
        assert f"llava_interleave_serve/{file.relative_to(ROOT).as_posix()}" in wheel


def test_the_wheel_holds_the_data_files_of_the_load_test(wheel: set[str]) -> None:
    folder = ROOT / "benchmarks" / "load"
    files = [*folder.glob("workload/presets/*.toml"), folder / "workload" / "workload.schema.json", folder / "py.typed"]
    assert len(files) > 8
    for file in files:
        assert f"llava_interleave_serve/{file.relative_to(ROOT).as_posix()}" in wheel


def test_the_wheel_is_typed_and_holds_no_tests_or_measurements(wheel: set[str]) -> None:
    assert "llava_interleave_serve/server/py.typed" in wheel
    tops = {name.split("/")[0] for name in wheel}
    assert tops == {"llava_interleave_serve", "llava_interleave_serve-0.1.0.dist-info"}
    assert not [name for name in wheel if "tests" in name]
    # Measurements of this repository stay in it; commands are installed.
    parts = {name.split("/")[2] for name in wheel if name.startswith("llava_interleave_serve/benchmarks/")}
    assert parts == set(INSTALLED)


def test_a_wheel_built_from_the_sdist_is_the_same(wheel: set[str], tmp_path: Path) -> None:
    build = "import os, sys; os.chdir(sys.argv[1]); from hatchling.build import build_{0}; build_{0}(sys.argv[2])"
    subprocess.run([sys.executable, "-c", build.format("sdist"), ROOT, tmp_path], check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        assert not [member for member in sdist if member.issym() or member.islnk()]
        sdist.extractall(tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    subprocess.run([sys.executable, "-c", build.format("wheel"), source, tmp_path], check=True, capture_output=True)
    (rebuilt,) = tmp_path.glob("*.whl")
    assert set(zipfile.ZipFile(rebuilt).namelist()) == wheel


def test_the_demo_checkpoint_is_small() -> None:
    size = sum(file.stat().st_size for file in (ROOT / "demo" / "checkpoint").iterdir())
    assert size <= 16 * 1024 * 1024
