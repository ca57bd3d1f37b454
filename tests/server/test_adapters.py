"""LoRA adapters: named on the command line, listed, and asked for by their names."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llava_interleave_serve.benchmarks.model import derived_checkpoints
from llava_interleave_serve.server import cli
from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from tests.support.app_client import CHAT, HELLO, PLAN, serving
from tests.support.fakes.engine import FakeEngine


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return derived_checkpoints.adapter(DEMO_CHECKPOINT, tmp_path / "adapter")


def refusal(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The last line that refuses a command line, whose exit code is 2."""
    with pytest.raises(SystemExit) as end:
        cli.parse(argv)
    assert end.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_adapters_turn_on_vllms_lora_with_room_for_all_in_one_batch(adapter: Path) -> None:
    config = cli.parse(["--lora-modules", f"a={adapter}", "--lora-modules", f"b={adapter}"])
    assert config.adapters == (("a", str(adapter)), ("b", str(adapter)))
    assert (config.engine_args.enable_lora, config.engine_args.max_loras) == (True, 2)
    fewer = cli.parse(["--lora-modules", f"a={adapter}", "--lora-modules", f"b={adapter}", "--max-loras", "1"])
    assert (fewer.engine_args.max_loras, fewer.engine_args.max_cpu_loras) == (1, 2)
    assert not cli.parse([]).engine_args.enable_lora


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--lora-modules", "x"], "'x' is not NAME=FOLDER"),
        (["--lora-modules", "=x"], "'=x' is not NAME=FOLDER"),
        (["--lora-modules", "a=/nowhere"], "--lora-modules: /nowhere has no adapter_config.json"),
        (["--enable-lora"], "name the adapters by --lora-modules"),
        (["--enable-tower-connector-lora"], "adapters are of the language model alone"),
        (["--default-mm-loras", '{"image": "/x"}'], "name the adapters by --lora-modules"),
    ],
)
def test_an_adapter_that_is_not_there_is_refused(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refusal(argv, capsys)


@pytest.mark.parametrize("names", [("a", "a"), ("llava-interleave-demo",)])
def test_two_models_of_one_name_are_refused(
    names: tuple[str, ...], adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"two models would have the name {names[-1]}" in refusal(
        [word for name in names for word in ("--lora-modules", f"{name}={adapter}")], capsys
    )


@pytest.mark.parametrize("part", ["vision_tower.encoder", "model.vision_tower.encoder", "model.mm_projector.0"])
def test_an_adapter_of_tower_or_projector_is_refused_since_vllm_would_leave_that_out(
    part: str, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {f"base_model.model.{part}.lora_A.weight": torch.zeros(8, 192)}, file)
    assert "here adapters are of the language model alone" in refusal(["--lora-modules", f"a={adapter}"], capsys)


@pytest.mark.parametrize("prefix", ["base_model.model.layers.0", "base_model.model.language_model.layers.0"])
def test_an_adapter_of_layers_that_are_not_here_is_refused_since_vllm_would_leave_it_out(
    prefix: str, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = adapter / "adapter_model.safetensors"
    save_file({f"{prefix}.self_attn.q_proj.lora_A.weight": torch.zeros(8, 192)}, file)
    assert f"adapts no layer of this model: {prefix}" in refusal(["--lora-modules", f"a={adapter}"], capsys)


@pytest.mark.parametrize(
    "prefix", ["language_model.model.layers.0", "model.language_model.layers.0", "model.layers.0"], ids=str
)
def test_the_layers_of_an_adapter_have_their_names_of_the_hubs_formats_or_of_the_authors(
    prefix: str, adapter: Path
) -> None:
    file = adapter / "adapter_model.safetensors"
    save_file({f"base_model.model.{prefix}.self_attn.q_proj.lora_A.weight": torch.zeros(8, 192)}, file)
    assert cli.parse(["--lora-modules", f"a={adapter}"]).adapters == (("a", str(adapter)),)


def test_an_adapter_without_weights_or_with_a_projector_beside_it_is_refused(
    adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (adapter / "non_lora_trainables.bin").touch()
    assert "non_lora_trainables.bin, a projector" in refusal(["--lora-modules", f"a={adapter}"], capsys)
    (adapter / "non_lora_trainables.bin").unlink()
    save_file({}, adapter / "adapter_model.safetensors")
    assert "it has no weights" in refusal(["--lora-modules", f"a={adapter}"], capsys)


def test_adapters_that_are_switched_off_are_refused_and_switching_nothing_off_is_not(
    adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--no-enable-lora: leave it out" in refusal(["--no-enable-lora", "--lora-modules", f"a={adapter}"], capsys)
    assert not cli.parse(["--no-enable-lora"]).engine_args.enable_lora


def test_a_cut_adapter_is_refused(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert "is cut or damaged" in refusal(["--lora-modules", f"a={adapter}"], capsys)


@pytest.fixture
def engine() -> FakeEngine:
    fake = FakeEngine()
    fake.facts = replace(fake.facts, adapters=("pirate",))
    return fake


@pytest.mark.anyio
async def test_an_adapter_is_asked_for_by_its_name_and_other_names_are_not_there(engine: FakeEngine) -> None:
    async with serving(engine) as client:
        for name in ("pirate", "fake", "parrot"):
            status = (await client.post(CHAT, json=HELLO | {"model": name})).status_code
            assert status == (404 if name == "parrot" else 200)
    assert [sampling["model"] for _, _, sampling in engine.asked] == ["pirate", "fake"]


@pytest.mark.anyio
async def test_a_plan_says_the_name_that_was_asked_for(engine: FakeEngine) -> None:
    async with serving(engine) as client:
        plans = [(await client.post(PLAN, json=HELLO | fields)).json() for fields in ({"model": "pirate"}, {})]
    assert [plan["model"] for plan in plans] == ["pirate", "fake"]


@pytest.mark.anyio
async def test_an_adapter_is_listed_as_a_child_of_the_model_without_its_folder(engine: FakeEngine) -> None:
    async with serving(engine) as client:
        cards = (await client.get("/v1/models")).json()["data"]
        assert (await client.get("/v1/models/pirate")).json() == cards[1]
        assert (await client.get("/v1/models/parrot")).status_code == 404
    assert [(card["id"], card["parent"]) for card in cards] == [("fake", None), ("pirate", "fake")]
    assert cards[1]["root"] == "pirate"
    assert cards[1]["max_model_len"] == cards[0]["max_model_len"]
