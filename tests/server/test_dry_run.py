"""--dry-run says what fits, without a GPU and without loading weights; the documentation's table is what it says."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from llava_interleave_serve.benchmarks.model import dimensions
from llava_interleave_serve.server import cli, dry_run
from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.engine.cards import CARDS
from llava_interleave_serve.server.engine.memory_plan import ModelSizes
from tests.support import checkpoints

SMALL, LARGE = "llava-hf/llava-interleave-qwen-0.5b-hf", "llava-hf/llava-interleave-qwen-7b-hf"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "gpus.md"
GIB = 2**30


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What `llava-interleave serve ARGV --dry-run` prints."""
    with pytest.raises(SystemExit) as end:
        cli.parse([*argv, "--dry-run"])
    assert not end.value.code
    return capsys.readouterr().out


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The last line of a command that ends with code 2."""
    with pytest.raises(SystemExit) as end:
        cli.parse(list(argv))
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert not captured.out
    return captured.err.splitlines()[-1]


def values(text: str) -> dict[str, str]:
    """The plan's lines by their names."""
    return dict(re.split(r"\s{2,}|(?<=^left free)\s", line.strip(), maxsplit=1) for line in text.splitlines()[1:12])


def test_the_table_in_the_documentation_is_what_is_printed() -> None:
    table = dry_run.table({SMALL: "0.5B", LARGE: "7B"})
    assert len(table.splitlines()) == 2 + 2 * len(CARDS)
    assert table in PAGE.read_text(), table


@pytest.mark.parametrize("card", ["h100", "L4"])
def test_a_card_is_planned_for_in_the_words_of_its_row(card: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, LARGE, "--card", card)
    row = dry_run.table({LARGE: "7B"}, [card.lower()]).splitlines()[-1]
    assert [cell.strip() for cell in row.split("|")][3:-1] == list(values(text).values())
    assert text.splitlines()[-1].startswith("memory: ")


def test_a_plan_ends_with_the_line_that_the_start_logs(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, LARGE, "--card", "h100").splitlines()[-1] == (
        "memory: 72.42 GiB of 79.10 GiB (0.915) for weights and KV blocks; up to 0.36 GiB for kept encoder outputs; "
        "6,983 KV blocks hold 111,728 tokens or 153 unpooled visuals; a context has 32,768"
    )


def test_an_unknown_card_and_one_without_a_dry_run_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "invalid choice: 'h900' (choose from" in refusal(capsys, LARGE, "--dry-run", "--card", "h900")
    assert "--dry-run" in refusal(capsys, LARGE, "--card", "h100")


def test_a_name_whose_sizes_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{LARGE}, " in refusal(capsys, "some/model", "--dry-run", "--card", "h100")


def test_a_model_that_does_not_fit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    last = refusal(capsys, LARGE, "--dry-run", "--card", "l4", "--gpu-memory-utilization", "0.7")
    assert "no room is left for KV blocks in 22.00 GiB" in last
    assert "at most" in refusal(capsys, LARGE, "--dry-run", "--card", "l4", "--max-model-len", "32768")
    assert "not 70.00 GiB" in refusal(capsys, SMALL, "--dry-run", "--card", "l4", "--kv-cache-memory-bytes", "70G")
    assert "--kv-cache-dtype" in refusal(capsys, SMALL, "--dry-run", "--card", "l4", "--kv-cache-dtype", "nvfp4")


@pytest.mark.parametrize(
    ("options", "name", "expected"),
    [
        (("--kv-cache-dtype", "fp8"), "tokens", "\u2248 223,456"),
        (("--max-num-batched-tokens", "2048"), "visuals a step", "2"),
        (("--encode-visuals-at-once", "4"), "visuals a step", "4"),
        (("--encode-visuals-at-once", "400"), "visuals a step", "11"),
        (("--encoder-cache-visuals", "256"), "encoder cache", "1.42 GiB"),
        (("--gpu-memory-utilization", "0.5"), "left free", "39.55 GiB"),
        (("--kv-cache-memory-bytes", "8G"), "KV blocks", "\u2248 1,024 (8.00 GiB)"),
        (("--max-model-len", "9000"), "context", "9,000"),
        (("--tensor-parallel-size", "2"), "weights", "7.97 GiB"),
        (("--tensor-parallel-size", "2", "--mm-encoder-tp-mode", "weights"), "weights", "7.58 GiB"),
        (("--dtype", "float32"), "weights", "30.33 GiB"),
        (("--block-size", "32"), "KV blocks", "\u2248 3,491 (54.56 GiB)"),
    ],
)
def test_options_change_the_plan(
    options: tuple[str, ...], name: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = (values(printed(capsys, LARGE, "--card", "h100", *more))[name] for more in ((), options))
    assert after == expected != before or "400" in options


def test_options_that_the_plan_does_not_count_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, LARGE, "--card", "h100", "--pipeline-parallel-size", "2", "--max-requests", "9")
    assert "not counted: --pipeline-parallel-size\n" in text
    assert "not counted" not in printed(capsys, LARGE, "--card", "h100", "--max-requests", "9")


def test_the_published_models_have_the_dimensions_that_are_measured() -> None:
    for name, size in ((SMALL, "0.5b"), (LARGE, "7b")):
        config = dimensions.config(dimensions.SIZES[size])
        assert dry_run.PUBLISHED[name].items() <= config["text_config"].items()
        assert dry_run.TOWER.items() <= config["vision_config"].items()


def test_a_folders_weights_are_counted_by_its_headers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = checkpoints.copy_of_demo(tmp_path / "model")
    stored = (DEMO_CHECKPOINT / "model.safetensors").stat().st_size
    saved_in_float16 = dry_run.model_sizes(str(folder), "auto").weights_bytes
    assert saved_in_float16 == pytest.approx(stored, rel=0.02)
    assert dry_run.model_sizes(str(folder), "float32").weights_bytes == 2 * saved_in_float16
    assert printed(capsys, str(folder), "--card", "l4")
    header = b'{"a": {"data_offsets": [0, 0]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert "its header is damaged" in refusal(capsys, str(folder), "--dry-run", "--card", "l4")
    (folder / "model.safetensors").write_bytes(b"")
    assert "is not a safetensors file" in refusal(capsys, str(folder), "--dry-run", "--card", "l4")


def test_a_folder_in_the_authors_own_format_has_the_sizes_of_its_flat_configuration() -> None:
    folder = Path(__file__).parents[1] / "support" / "original" / "checkpoint-anyres"
    sizes = dry_run.model_sizes(str(folder), "bfloat16")
    assert (sizes.hidden, sizes.intermediate, sizes.patches, sizes.longest_context) == (128, 192, 25, 32_768)
    assert sizes.kv_elements == 2 * 3 * 128
    assert 0 < (folder / "model.safetensors").stat().st_size - sizes.weights_bytes < 20_000  # the header


def test_counted_parameters_are_those_of_the_files() -> None:
    by_headers = dry_run.model_sizes(str(DEMO_CHECKPOINT), "float32").weights_bytes
    config = SimpleNamespace(
        **{
            part: SimpleNamespace(**value)
            for part, value in json.loads((DEMO_CHECKPOINT / "config.json").read_text()).items()
            if part in ("text_config", "vision_config")
        }
    )
    assert ModelSizes.of(config, 4).weights_bytes == by_headers


def test_a_config_of_wrong_types_is_refused_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = checkpoints.copy_of_demo(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["hidden_size"] = "wide"
    (folder / "config.json").write_text(json.dumps(config))
    assert "config.json cannot be read: " in refusal(capsys, str(folder), "--dry-run", "--card", "l4")


def test_without_a_card_the_plan_is_of_what_this_cpu_has_free(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vllm_compat, "device_bytes", lambda: None)
    monkeypatch.setattr(vllm_compat, "free_bytes", lambda _: 40 * GIB)
    monkeypatch.setattr(vllm_compat, "has_bfloat16", lambda: True)
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    text = printed(capsys, LARGE)
    assert values(text)["memory"] == "\u2248 40.00 GiB"
    assert values(text)["visuals a step"] == "1"
    assert re.search(r"memory: 1\d\.\d\d GiB of 40\.00 GiB that were free for KV blocks; up to 0\.36 GiB", text)
    assert "gpu-memory-utilization" in refusal(capsys, LARGE, "--dry-run", "--gpu-memory-utilization", "0.5")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "4")
    assert "(4.00 GiB)" in values(printed(capsys, LARGE))["KV blocks"]
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE")
    assert "(1.00 GiB)" in values(printed(capsys))["KV blocks"]


def test_without_a_card_the_plan_is_of_this_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = SimpleNamespace(is_cpu=lambda: False, get_device_name=lambda: "NVIDIA A100-SXM4-80GB")
    monkeypatch.setattr(vllm_compat, "current_platform", gpu)
    monkeypatch.setattr(vllm_compat, "device_bytes", lambda: 80 * GIB)
    text = printed(capsys, LARGE)
    assert "on NVIDIA A100-SXM4-80GB" in text
    assert values(text)["tokens a step"] == "8,112"
