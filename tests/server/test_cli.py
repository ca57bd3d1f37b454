"""From the command line and the environment to one configuration."""

import dataclasses
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from llava_interleave_serve.model_executor.encoder_cache import VisualCache
from llava_interleave_serve.server import cli
from llava_interleave_serve.server.config import DEMO_CHECKPOINT, ServerConfig
from llava_interleave_serve.server.limits import Limits


def parse(*argv: str) -> ServerConfig:
    return cli.parse(list(argv))


def test_the_default_is_the_demo_on_loopback_without_keys() -> None:
    config = parse()
    assert config.model == str(DEMO_CHECKPOINT)
    assert config.model_name == "llava-interleave-demo"
    assert (config.host, config.api_keys, config.limits) == ("127.0.0.1", (), Limits())


def test_vllms_options_reach_the_engine_and_ours_do_not_mix() -> None:
    args = parse("some/model", "--max-model-len", "2048", "--dtype", "float16", "--max-visuals", "9").engine_args
    assert (args.model, args.max_model_len, args.dtype) == ("some/model", 2048, "float16")
    assert args.hf_overrides["architectures"] == ["LlavaInterleaveForConditionalGeneration"]
    assert args.limit_mm_per_prompt == {"image": 9, "video": 0}
    assert args.served_model_name == ["some/model"]
    assert not args.trust_remote_code


def test_without_the_hub_only_the_model_that_is_served_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert parse().engine_args.model == str(DEMO_CHECKPOINT)


def test_an_option_given_with_vllms_default_value_is_given() -> None:
    assert parse().engine_args.skip_mm_profiling
    assert parse().engine_args.enforce_eager
    args = parse("--no-skip-mm-profiling", "--no-enforce-eager", "--dtype", "auto").engine_args
    assert (args.skip_mm_profiling, args.enforce_eager, args.dtype) == (False, False, "auto")


def test_the_encoder_cache_is_ours_and_told_what_is_given() -> None:
    assert parse().engine_args.ec_manager_config.manager_config == {}
    manager = parse("--encoder-cache-visuals", "9", "--encode-visuals-at-once", "2").engine_args.ec_manager_config
    assert manager.manager_config == {"visuals_kept": 9, "visuals_a_step": 2}
    assert manager.get_encoder_cache_manager_obj() is VisualCache


def test_an_encoder_cache_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--encoder-cache-visuals", "0")
    assert "from 1" in capsys.readouterr().err.splitlines()[-1]


def test_an_encoder_cache_of_the_operators_own_is_told_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    own = ("--ec-manager-config", '{"encoder_cache_manager_cls": "some.other.Cache"}')
    assert parse(*own).engine_args.ec_manager_config.encoder_cache_manager_cls == "some.other.Cache"
    with pytest.raises(SystemExit):
        parse(*own, "--encode-visuals-at-once", "2")
    assert "--ec-manager-config" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("field", dataclasses.fields(Limits), ids=lambda field: field.name)
def test_every_limit_is_an_option(field: dataclasses.Field[Any]) -> None:
    assert field.default is not dataclasses.MISSING
    other = field.default * 2 if isinstance(field.default, int) else field.default / 2
    assert getattr(parse(f"--{field.name.replace('_', '-')}", str(other)).limits, field.name) == other


@pytest.mark.parametrize(
    "options", [("--max-requests", "0"), ("--max-key-share", "2"), ("--max-body-bytes", str(2 << 30))]
)
def test_a_limit_that_cannot_be_is_refused(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(*options)
    assert "max_" in capsys.readouterr().err.splitlines()[-1]


def test_keys_come_from_the_options_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cli.API_KEY_VARIABLE, "third")
    config = parse("--api-key", "first", "--api-key", "second")
    assert config.api_keys == ("first", "second", "third")
    assert "first" not in repr(config)


def test_a_key_alone_may_take_all_and_one_of_several_leaves_some() -> None:
    several = ("--api-key", "first", "--api-key", "second")
    assert parse("--api-key", "first").limits.max_key_share == 1.0
    assert parse(*several).limits.max_key_share == cli.SHARE_OF_SEVERAL_KEYS
    assert parse(*several, "--max-key-share", "1").limits.max_key_share == 1.0


def test_hosts_and_folders_that_media_may_come_from(tmp_path: Path) -> None:
    config = parse("--allowed-local-media-path", str(tmp_path), "--allowed-media-hosts", "Media.Example.", "10.0.0.0/8")
    assert config.access.allowed_local_media_path == tmp_path
    assert config.access.allowed_hosts == {"media.example", "10.0.0.0/8"}


@pytest.mark.parametrize(
    "argv",
    [
        ["--no-such-option"],
        ["--port", "x"],
        ["--allowed-local-media-path", "/no/such/folder"],
        ["--limit-mm-per-prompt", '{"image": 3}'],
    ],
)
def test_a_wrong_option_ends_the_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(*argv)
    assert end.value.code == 2
    assert argv[0] in capsys.readouterr().err
