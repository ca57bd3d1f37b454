"""A checkpoint that cannot be served is refused before the engine starts, with one sentence that names the file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llava_interleave_serve.server import checkpoint_files, cli
from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from tests.support import checkpoints

INDEX = checkpoint_files.INDEX
ORIGINAL = Path(__file__).parents[1] / "support" / "original" / "checkpoint-anyres"


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def split_and_cut(folder: Path) -> None:
    split(folder, "a.safetensors")
    cut(folder / "a.safetensors", 5000)


def split(folder: Path, *names: str) -> None:
    """Makes the weights shards of these names by the index, of which the first exists."""
    (folder / "model.safetensors").rename(folder / names[0])
    (folder / INDEX).write_text(json.dumps({"weight_map": {f"tensor{name}": name for name in names}}))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    "config cut": (lambda folder: cut(folder / "config.json", 100), "config.json is not JSON"),
    "config of a list": (lambda folder: (folder / "config.json").write_text("[]"), "is not a JSON object"),
    "another model": (
        lambda folder: (folder / "config.json").write_text('{"model_type": "gpt2"}'),
        "no vision_config; model_type is gpt2",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no .safetensors file"),
    "weights cut": (lambda folder: cut(folder / "model.safetensors", 300_000), "has 300000 bytes, and "),
    "a byte missing": (
        lambda folder: cut(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size - 1),
        "is cut or damaged",
    ),
    "a byte too many": (
        lambda folder: (folder / "model.safetensors").open("ab").write(b"x"),
        "is cut or damaged",
    ),
    "header cut": (lambda folder: cut(folder / "model.safetensors", 100), "has 100 bytes, and "),
    "empty weights": (lambda folder: cut(folder / "model.safetensors", 0), "is not a safetensors file"),
    "a pointer of Git LFS": (
        lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "is not a safetensors file",
    ),
    "a header that is no JSON": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{["),
        "header is damaged",
    ),
    "a shard missing": (lambda folder: split(folder, "a.safetensors", "b.safetensors"), "has no b.safetensors"),
    "a shard cut": (split_and_cut, "a.safetensors is cut"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_damaged_checkpoint_is_refused_in_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoints.copy_of_demo(tmp_path / "checkpoint")
    damage, says = FAULTS[name]
    damage(folder)
    with pytest.raises(SystemExit) as end:
        cli.parse([str(folder)])
    assert end.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2  # the usage, and
    assert says in lines[-1]


@pytest.mark.parametrize("model", ["/no/such/folder", "./absent", "../absent", "~/no-such-folder", "a/b/c"])
def test_a_folder_that_does_not_exist_is_refused(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.parse([model])
    assert "there is no folder" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("model", ["llava-hf/llava-interleave-qwen-7b-hf", "name", str(DEMO_CHECKPOINT)])
def test_a_name_on_the_hub_and_a_whole_folder_have_no_fault(model: str) -> None:
    assert checkpoint_files.first_fault(model, set()) is None


def test_a_whole_checkpoint_of_shards_has_no_fault(tmp_path: Path) -> None:
    folder = checkpoints.copy_of_demo(tmp_path / "checkpoint")
    split(folder, "a.safetensors")
    assert checkpoint_files.first_fault(str(folder), set()) is None


def test_what_an_option_replaces_is_not_looked_at(tmp_path: Path) -> None:
    folder = checkpoints.copy_of_demo(tmp_path / "checkpoint")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).unlink()
    given = {"hf_config_path", "tokenizer", "load_format"}
    assert checkpoint_files.first_fault(str(folder), given) is None


def original(tmp_path: Path, *without: str) -> Path:
    """A copy of a checkpoint in the authors' own format, without some of its files."""
    folder = tmp_path / "original"
    shutil.copytree(ORIGINAL, folder)
    for name in without:
        (folder / name).unlink()
    return folder


def test_a_checkpoint_of_the_authors_is_served_with_either_form_of_its_tokenizer(tmp_path: Path) -> None:
    assert checkpoint_files.first_fault(str(original(tmp_path / "a")), set()) is None
    assert checkpoint_files.first_fault(str(original(tmp_path / "b", "tokenizer.json")), set()) is None
    fault = checkpoint_files.first_fault(str(original(tmp_path / "c", "tokenizer.json", "merges.txt")), set())
    assert fault is not None
    assert "has no tokenizer.json" in fault


def test_a_checkpoint_of_the_authors_without_its_tower_is_refused_by_the_field(tmp_path: Path) -> None:
    folder = original(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["mm_vision_tower"]
    (folder / "config.json").write_text(json.dumps(config))
    fault = checkpoint_files.first_fault(str(folder), set())
    assert fault is not None
    assert "no mm_vision_tower; model_type is llava_qwen" in fault
