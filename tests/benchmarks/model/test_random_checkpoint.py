"""Random checkpoints have the published dimensions; those written here are small."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer, LlavaForConditionalGeneration

from llava_interleave_serve.benchmarks.load.requests.conversations import WORDS
from llava_interleave_serve.benchmarks.model import original_format, random_checkpoint
from llava_interleave_serve.benchmarks.model.dimensions import SIZES, Size
from llava_interleave_serve.server.checkpoint_files import first_fault

ORIGINAL = Path(__file__).parents[2] / "support" / "original" / "checkpoint-anyres"
SMALL = {
    "hidden": 32, "intermediate": 48, "layers": 2, "heads": 2, "max_window_layers": 2, "vocabulary": 3072,
    "tokens": 3000, "context": 512, "image": 64, "patch": 16, "tower_hidden": 24, "tower_intermediate": 40,
    "tower_layers": 2, "tower_heads": 2,
}  # fmt: skip


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint")
    random_checkpoint.write(Size(tied=request.param, **SMALL), path, shard_bytes=100_000)
    return path


# Published: the hub's files are of 1.73 GB, and of 4.98 + 4.92 + 4.95 + 1.43 GB.
@pytest.mark.parametrize(("name", "gigabytes"), [("0.5b", 1.73), ("7b", 16.28)])
def test_a_random_checkpoint_has_the_size_of_the_published_files(name: str, gigabytes: float) -> None:
    total = sum(2 * torch.Size(shape).numel() for _, shape in random_checkpoint.tensors(SIZES[name]))
    assert total / 1e9 == pytest.approx(gigabytes, abs=0.01)


def test_the_vision_tower_of_a_random_checkpoint_has_the_published_number_of_parameters() -> None:
    tensors = random_checkpoint.tensors(SIZES["7b"])
    tower = sum(torch.Size(shape).numel() for name, shape in tensors if name.startswith("vision_tower"))
    assert tower == 397_747_744


def test_transformers_finds_every_weight_of_a_random_checkpoint(folder: Path) -> None:
    config = AutoConfig.from_pretrained(folder)
    assert config.architectures == ["LlavaForConditionalGeneration"]
    model, loading = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert not loading["mismatched_keys"]
    assert model.dtype == torch.bfloat16


def test_a_random_checkpoint_answers_about_an_image(folder: Path) -> None:
    model = LlavaForConditionalGeneration.from_pretrained(folder)
    tokeniser = AutoTokenizer.from_pretrained(folder)
    image = tokeniser.convert_tokens_to_ids("<image>")
    tokens = torch.tensor([[*tokeniser.encode("See"), *[image] * 16, *tokeniser.encode("this")]])
    pixels = torch.rand(1, 3, 64, 64, dtype=torch.bfloat16)
    answer = model.generate(input_ids=tokens, pixel_values=pixels, max_new_tokens=8, do_sample=False)
    new = answer[0, tokens.shape[1] :]
    assert len(new) > 0
    assert int(new.max()) < image
    assert tokeniser.decode(new, skip_special_tokens=True).strip()


def test_the_index_names_the_file_of_every_tensor(folder: Path) -> None:
    weight_map = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    files = set(weight_map.values())
    assert len(files) > 1
    assert files == {file.name for file in folder.glob("*.safetensors")}
    for name, file in weight_map.items():
        with safe_open(folder / file, "pt") as opened:
            assert opened.get_tensor(name).dtype == torch.bfloat16


def test_random_weights_are_spread_and_norms_are_one_and_biases_are_zero(folder: Path) -> None:
    weight_map = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]

    def tensor(name: str) -> torch.Tensor:
        with safe_open(folder / weight_map[name], "pt") as opened:
            return opened.get_tensor(name).float()

    embeddings = tensor("language_model.model.embed_tokens.weight")
    assert embeddings[:3003].std() == pytest.approx(0.02, rel=0.02)
    assert not embeddings[3003:].any()
    assert (tensor("language_model.model.norm.weight") == 1).all()
    assert not tensor("language_model.model.layers.0.self_attn.q_proj.bias").any()


def test_weights_written_in_blocks_of_rows_have_their_whole_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_checkpoint, "BLOCK", 1000)
    size = Size(tied=True, **SMALL)
    shape = (size.vocabulary, size.hidden)
    content = b"".join(random_checkpoint.blocks("x.weight", shape, size, torch.Generator().manual_seed(0)))
    rows = torch.frombuffer(bytearray(content), dtype=torch.bfloat16).view(shape)
    assert rows[3002].any()
    assert not rows[3003:].any()


def test_the_tokeniser_of_the_published_size_has_the_published_special_token_ids() -> None:
    tokeniser = random_checkpoint.tokeniser(SIZES["0.5b"])
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"]
    assert tokeniser.convert_tokens_to_ids(special) == [151643, 151644, 151645, 151646]
    assert len(tokeniser) == 151647
    text = "Two dogs, über 3 häuser?\n"
    assert tokeniser.decode(tokeniser.encode(text)) == text
    assert len(tokeniser.encode(" ".join(WORDS))) == len(WORDS)
    assert tokeniser.decode([100_000]).strip().isalpha()


def test_the_chat_template_of_a_random_checkpoint_leaves_visuals_where_the_user_put_them(folder: Path) -> None:
    content = [{"type": "text", "text": "See "}, {"type": "image"}, {"type": "text", "text": "this?"}]
    prompt = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    assert prompt == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nSee <image>\nthis?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_folder_that_is_not_empty_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(FileExistsError):
        random_checkpoint.write(Size(tied=True, **SMALL), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("has_newline", [True, False])
@pytest.mark.parametrize("shard_bytes", [200_000, 5_000_000_000])
def test_a_random_checkpoint_of_the_authors_format_has_the_names_of_their_files(
    tmp_path: Path, has_newline: bool, shard_bytes: int
) -> None:
    folder = tmp_path / "original"
    random_checkpoint.write_original(SIZES["tiny"], folder, shard_bytes, has_newline=has_newline)
    written: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            written |= set(opened.keys())
    with safe_open(ORIGINAL / "model.safetensors", "pt") as opened:
        expected = set(opened.keys())
    assert written == (expected if has_newline else expected - {"model.image_newline"})
    assert (folder / "model.safetensors.index.json").exists() == (shard_bytes < 1_000_000)
    config = json.loads((folder / "config.json").read_text())
    theirs = json.loads((ORIGINAL / "config.json").read_text())
    assert config.keys() - theirs.keys() <= {"mm_newline_position", "mm_pooling_position"}
    assert config["image_grid_pinpoints"] == (theirs["image_grid_pinpoints"] if has_newline else None)
    tokeniser = AutoTokenizer.from_pretrained(folder)
    assert "<image>" not in tokeniser.get_vocab()
    assert len(tokeniser) == 4003
    assert first_fault(str(folder), set()) is None


# Published: 4.99 + 4.98 + 5.00 + 1.31 GB.
@pytest.mark.parametrize(("name", "gigabytes", "rows"), [("0.5b", 1.73, 151_936), ("7b", 16.28, 151_936)])
def test_the_authors_format_has_the_size_of_their_files(name: str, gigabytes: float, rows: int) -> None:
    size = dataclasses.replace(SIZES[name], vocabulary=original_format.vocabulary(SIZES[name]))
    listed = dict(original_format.tensors(random_checkpoint.tensors(size), size, has_newline=True))
    assert sum(2 * torch.Size(shape).numel() for shape in listed.values()) / 1e9 == pytest.approx(gigabytes, abs=0.01)
    assert listed["model.embed_tokens.weight"][0] == rows
    assert "vision_config" not in original_format.config(size, has_newline=True)
    assert original_format.config(size, has_newline=True)["image_grid_pinpoints"][3] == [1152, 384]
