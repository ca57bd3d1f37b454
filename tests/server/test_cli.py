"""The command line and the environment become one configuration."""

import argparse
import dataclasses
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from llava_interleave_serve.model_executor.encoder_cache import VisualCache
from llava_interleave_serve.server import cli
from llava_interleave_serve.server.config import DEMO_CHECKPOINT, ServerConfig
from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.serve_options import API_KEY_VARIABLE, add_server_options

pytestmark = pytest.mark.usefixtures("on_every_platform")


def parse(*argv: str) -> ServerConfig:
    return cli.parse(list(argv))


def test_the_default_server_has_the_demo_model_on_loopback_without_api_keys() -> None:
    config = parse()
    assert config.model == str(DEMO_CHECKPOINT)
    assert config.model_name == "llava-interleave-demo"
    assert (config.host, config.api_keys, config.limits) == ("127.0.0.1", (), Limits())


def test_options_of_vllm_reach_the_engine_and_options_of_the_server_do_not() -> None:
    args = parse("some/model", "--max-model-len", "2048", "--dtype", "float16", "--max-visuals", "9").engine_args
    assert (args.model, args.max_model_len, args.dtype) == ("some/model", 2048, "float16")
    assert args.hf_overrides["architectures"] == ["LlavaInterleaveForConditionalGeneration"]
    assert args.limit_mm_per_prompt == {"image": 9, "video": 0}
    assert args.served_model_name == ["some/model"]
    assert not args.trust_remote_code


def test_offline_start_up_looks_for_the_served_model_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert parse().engine_args.model == str(DEMO_CHECKPOINT)


def test_an_option_given_with_the_default_value_of_vllm_overrides_the_default_of_the_server() -> None:
    assert parse().engine_args.skip_mm_profiling
    assert parse().engine_args.enforce_eager == vllm_compat.current_platform.is_cpu()
    args = parse("--no-skip-mm-profiling", "--no-enforce-eager", "--dtype", "auto").engine_args
    assert (args.skip_mm_profiling, args.enforce_eager, args.dtype) == (False, False, "auto")


def test_the_engine_gets_the_visual_cache_with_the_given_encoder_cache_options() -> None:
    assert parse().engine_args.ec_manager_config.manager_config == {}
    manager = parse("--encoder-cache-visuals", "9", "--encode-visuals-at-once", "2").engine_args.ec_manager_config
    assert manager.manager_config == {"visuals_kept": 9, "visuals_a_step": 2}
    assert manager.get_encoder_cache_manager_obj() is VisualCache


def test_an_encoder_cache_of_zero_visuals_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--encoder-cache-visuals", "0")
    assert "from 1" in capsys.readouterr().err.splitlines()[-1]


def test_an_encoder_cache_class_of_the_operator_excludes_the_encoder_cache_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
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
def test_an_impossible_limit_is_refused(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(*options)
    assert "max_" in capsys.readouterr().err.splitlines()[-1]


def test_api_keys_come_from_the_options_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "third")
    config = parse("--api-key", "first", "--api-key", "second")
    assert config.api_keys == ("first", "second", "third")
    assert "first" not in repr(config)


@pytest.mark.parametrize(
    "key", ["", " ", "\n", "sch\u00fcssel", "a\tb", "a\nb", "a\x7fb", "\u00a0", "\ud800"], ids=range(9)
)
@pytest.mark.parametrize("source", ["--api-key", API_KEY_VARIABLE])
def test_a_key_that_no_client_or_every_client_has_is_refused(
    source: str, key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--api-key", "right"]
    if source == "--api-key":
        options += [source, key]
    else:
        monkeypatch.setattr(os, "environ", os.environ | {source: key})
    with pytest.raises(SystemExit):
        parse(*options)
    last = capsys.readouterr().err.splitlines()[-1]
    assert source in last
    assert not key.strip() or key not in last


def test_white_space_around_a_key_is_not_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "mounted\n")
    assert parse("--api-key", " given ").api_keys == ("given", "mounted")


def test_a_key_alone_may_take_all_and_one_of_several_leaves_some() -> None:
    several = ("--api-key", "first", "--api-key", "second")
    assert parse("--api-key", "first").limits.max_key_share == 1.0
    assert parse(*several).limits.max_key_share == cli.SHARE_OF_SEVERAL_KEYS
    assert parse(*several, "--max-key-share", "1").limits.max_key_share == 1.0


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


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["some/model", "--model", "another/model"], "--model"),
        (["--served-model-name", "a", "b"], "--served-model-name"),
        (["--engine-log-level", "info", "--logging-config", '{"log_level": "INFO"}'], "--logging-config"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    argv: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(*argv)
    assert end.value.code == 2
    assert named in capsys.readouterr().err.splitlines()[-1]


def test_a_contradiction_in_vllms_configuration_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "options.yaml").write_text("limit-mm-per-prompt: '{\"image\": 3}'\n")
    with pytest.raises(SystemExit):
        parse("--config", str(tmp_path / "options.yaml"))
    assert "--max-visuals" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("option", ["--max-visual", "--api-ke", "--tensor-parallel"])
def test_options_cannot_be_abbreviated(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(option, "2")
    assert "unrecognized arguments" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_every_option_of_this_server_and_none_of_vllm(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(option)
    assert end.value.code == 0
    shown = capsys.readouterr().out
    parser = argparse.ArgumentParser()
    add_server_options(parser)
    listed = set(re.findall(r"^ +(?:-h, )?(--[a-z-]+)", shown, re.MULTILINE))
    positive = {action.option_strings[-2:][0] for action in parser._actions if action.option_strings}
    assert listed == {"--help" if name == "-h" else name for name in positive}
    assert "MODEL" in shown


@pytest.mark.parametrize("name", ["all", "CacheConfig", "block-size"])
def test_help_with_a_name_shows_options_of_vllm(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_compat.FlexibleArgumentParser, "_search_keyword", None)  # which its parser sets
    with pytest.raises(SystemExit) as end:
        parse(f"--help={name}")
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "--block-size" in shown
    assert ("--max-visuals" in shown) == (name == "all")


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    code = "from llava_interleave_serve.server.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False)


def test_help_lists_the_commands_on_stdout() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(re.search(rf"^ +{name} ", done.stdout, re.MULTILINE) for name in cli.COMMANDS)


def test_the_version_is_that_of_the_package() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.split() == ["llava-interleave-serve", importlib.metadata.version("llava-interleave-serve")]


@pytest.mark.parametrize("argv", [[], ["no-such-command"], ["--serve"]])
def test_a_line_without_a_command_is_an_error_that_shows_the_usage(argv: list[str]) -> None:
    done = run(*argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: llava-interleave")


@pytest.mark.parametrize("command", ["bench", "eval"])
def test_a_command_reads_the_rest_of_the_line(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"llava-interleave {command}" in done.stdout


def test_the_playground_is_served_unless_the_operator_says_otherwise() -> None:
    assert parse().playground
    assert not parse("--no-playground").playground


def test_keys_are_isolated_where_there_are_several_unless_the_operator_says_otherwise() -> None:
    two = ("--api-key", "A", "--api-key", "B")
    assert parse(*two).isolates_keys
    assert not parse(*two, "--no-isolate-keys").isolates_keys
    assert not parse("--api-key", "A", "--api-key", "A").isolates_keys
    assert parse("--isolate-keys").isolates_keys


def test_tools_are_taken_and_the_demo_is_not_told_of_those_that_it_need_not_call() -> None:
    assert parse().tools
    assert not parse("--no-tools").tools
    assert parse().omits_auto_tools
    assert not parse("--auto-tools", "write").omits_auto_tools
    assert not parse("my/model").omits_auto_tools
    assert parse("my/model", "--auto-tools", "omit").omits_auto_tools


def test_low_detail_is_ignored_unless_the_operator_says_otherwise() -> None:
    assert parse().low_detail == "ignore"
    assert parse("--low-detail", "pool").low_detail == "pool"


def test_log_probabilities_of_prompts_are_the_one_limit_that_may_be_zero() -> None:
    assert parse().limits.max_prompt_logprobs == 0
    assert parse("--max-prompt-logprobs", "20000").limits.max_prompt_logprobs == 20_000
    with pytest.raises(SystemExit):
        parse("--max-prompt-logprobs", "-1")
    with pytest.raises(SystemExit):
        parse("--max-choices", "0")
