"""Defaults of the engine on a GPU and on a CPU, whatever this machine has."""

import os
import shutil
from types import SimpleNamespace

import pytest
import torch

from llava_interleave_serve.server import cli
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.engine import defaults, vllm_compat
from tests.support.fakes import platform as platforms

GPU, LARGE_GPU, CPU = platforms.L4, platforms.A100, platforms.CPU


def parse(*argv: str) -> ServerConfig:
    return cli.parse(["some/model", *argv])


@pytest.mark.parametrize("platform", [GPU, CPU], ids=["GPU", "CPU"])
def test_the_context_is_fitted_to_the_memory(platform: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", platform)
    assert parse().engine_args.max_model_len == -1
    assert parse("--max-model-len", "4096").engine_args.max_model_len == 4096


@pytest.mark.parametrize(
    ("platform", "tokens"), [(GPU, 4432), (LARGE_GPU, 8112), (CPU, None)], ids=["L4", "A100", "CPU"]
)
def test_a_step_has_the_tokens_of_whole_visuals_on_a_gpu(
    platform: SimpleNamespace, tokens: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", platform)
    assert parse().engine_args.max_num_batched_tokens == tokens
    assert parse("--max-num-batched-tokens", "2048").engine_args.max_num_batched_tokens == 2048
    assert parse("--performance-mode", "throughput").engine_args.max_num_batched_tokens is None


def has_graphs(*argv: str) -> bool:
    graphs: bool = parse(*argv).engine_args.compilation_config.cudagraph_mm_encoder
    return graphs


def test_the_tower_is_in_cuda_graphs_on_a_gpu_unless_the_operator_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", GPU)
    assert has_graphs()
    assert not has_graphs("--enforce-eager")
    assert not has_graphs("--compilation-config", '{"mode": 3}')
    monkeypatch.setattr(vllm_compat, "current_platform", CPU)
    assert not has_graphs()


COMPILED = ("--compilation-config", '{"compile_mm_encoder": true, "cudagraph_mm_encoder": true}')


def test_a_compiled_tower_is_compiled_at_the_start_and_goes_with_its_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", GPU)
    assert not parse().engine_args.compilation_config.compile_mm_encoder
    assert parse().engine_args.skip_mm_profiling
    compiled = parse(*COMPILED).engine_args
    assert compiled.compilation_config.compile_mm_encoder
    assert compiled.compilation_config.cudagraph_mm_encoder
    assert not compiled.skip_mm_profiling
    assert parse(*COMPILED, "--skip-mm-profiling").engine_args.skip_mm_profiling


@pytest.mark.parametrize(
    ("platform", "options"), [(CPU, ()), (GPU, ("--enforce-eager",))], ids=["by default", "as the operator says"]
)
def test_a_tower_cannot_be_compiled_in_eager_mode(
    platform: SimpleNamespace,
    options: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", platform)
    with pytest.raises(SystemExit) as ended:
        parse(*COMPILED, *options)
    assert ended.value.code == 2
    assert "compile_mm_encoder compiles nothing in eager mode" in capsys.readouterr().err
    assert parse(*COMPILED, "--no-enforce-eager").engine_args.compilation_config.compile_mm_encoder


@pytest.mark.parametrize("options", [("-cc.mode=0",), ("-cc.mode=1",), ("-O0",)], ids=str)
def test_a_tower_cannot_be_compiled_where_nothing_is(
    options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", GPU)
    with pytest.raises(SystemExit):
        parse("-cc.compile_mm_encoder=true", *options)
    assert "compile_mm_encoder compiles nothing in this compilation mode" in capsys.readouterr().err
    assert parse("-cc.compile_mm_encoder=true", "-cc.mode=2").engine_args.compilation_config.compile_mm_encoder


def test_several_gpus_share_the_views_and_not_the_towers_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    shared_memory(1 << 30, monkeypatch)
    monkeypatch.setattr(vllm_compat, "current_platform", GPU)
    assert parse("--tensor-parallel-size", "2").engine_args.mm_encoder_tp_mode == "data"
    own = parse("--tensor-parallel-size", "2", "--mm-encoder-tp-mode", "weights")
    assert own.engine_args.mm_encoder_tp_mode == "weights"
    assert parse().engine_args.mm_encoder_tp_mode == "weights"
    monkeypatch.setattr(vllm_compat, "current_platform", CPU)
    assert parse("--tensor-parallel-size", "2").engine_args.mm_encoder_tp_mode == "weights"


def test_on_a_cpu_the_demo_has_little_memory_unless_the_operator_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", CPU)
    assert cli.parse([]).engine_args.kv_cache_memory_bytes == defaults.DEMO_KV_BYTES
    assert cli.parse(["--kv-cache-memory-bytes", "5000000"]).engine_args.kv_cache_memory_bytes == 5_000_000
    assert cli.parse(["--gpu-memory-utilization", "0.3"]).engine_args.kv_cache_memory_bytes is None
    assert parse().engine_args.kv_cache_memory_bytes is None


def test_a_pipeline_on_a_cpu_has_a_worker_with_buffers_unless_the_operator_names_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared_memory(1 << 30, monkeypatch)
    monkeypatch.setattr(vllm_compat, "current_platform", CPU)
    assert parse().engine_args.worker_cls == "auto"
    assert parse("--pipeline-parallel-size", "2").engine_args.worker_cls == defaults.PIPELINE_WORKER
    assert parse("--pipeline-parallel-size", "2", "--worker-cls", "a.B").engine_args.worker_cls == "a.B"
    monkeypatch.setattr(vllm_compat, "current_platform", GPU)
    assert parse("--pipeline-parallel-size", "2").engine_args.worker_cls == "auto"


def test_on_a_cpu_several_keys_share_the_engines_steps_unless_the_operator_names_a_scheduler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", CPU)
    keys = ("--api-key", "a", "--api-key", "b")
    assert parse(*keys).engine_args.scheduler_cls == defaults.FAIR_SCHEDULER
    assert parse("--isolate-keys").engine_args.scheduler_cls == defaults.FAIR_SCHEDULER
    assert parse(*keys, "--no-isolate-keys").engine_args.scheduler_cls is None
    assert parse(*keys, "--scheduler-cls", "a.B").engine_args.scheduler_cls == "a.B"
    assert parse("--api-key", "a").engine_args.scheduler_cls is None
    monkeypatch.setattr(vllm_compat, "current_platform", GPU)
    assert parse(*keys).engine_args.scheduler_cls is None


def test_an_operators_own_share_of_memory_stays() -> None:
    assert parse().sizes_memory
    assert not parse("--gpu-memory-utilization", "0.92").sizes_memory
    assert not parse("--kv-cache-memory-bytes", "1000000000").sizes_memory


def shared_memory(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


@pytest.mark.parametrize("option", ["--tensor-parallel-size", "--pipeline-parallel-size"])
def test_several_workers_need_shared_memory(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared_memory(64 << 20, monkeypatch)
    with pytest.raises(SystemExit):
        parse(option, "2")
    error = capsys.readouterr().err.splitlines()[-1]
    assert "2 workers need 512 MiB of shared memory" in error
    assert "64 MiB free: give the container --ipc=host" in error


def test_one_worker_needs_no_shared_memory_and_enough_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    shared_memory(64 << 20, monkeypatch)
    parse()
    shared_memory(512 << 20, monkeypatch)
    defaults.check_shared_memory(8)


@pytest.mark.parametrize(("built", "driver", "is_old"), [("13.0", 12_080, True), ("13.0", 13_010, False),
                                                       ("13.0", 0, False), (None, 12_080, False)])  # fmt: skip
def test_a_driver_that_is_older_than_torch_is_refused_in_one_sentence(
    built: str | None, driver: int, is_old: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: driver, raising=False)
    if not is_old:
        parse()
        return
    with pytest.raises(SystemExit) as ended:
        parse()
    assert ended.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith("the GPU's driver is made for CUDA 12, but torch for CUDA 13: update the driver")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The process's environment, without what is set here."""
    copied = {name: value for name, value in os.environ.items() if not name.startswith("VLLM")}
    monkeypatch.setattr(os, "environ", copied)
    return copied


@pytest.mark.parametrize(("platform", "one_process"), [(GPU, None), (CPU, "0")], ids=["GPU", "CPU"])
def test_the_engines_processes_are_spawned(
    platform: SimpleNamespace, one_process: str | None, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", platform)
    defaults.prepare_environment(enforce_eager=True)
    assert environment["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert environment.get("VLLM_ENABLE_V1_MULTIPROCESSING") == one_process


def test_what_the_operator_set_in_the_environment_stays(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", GPU)
    environment["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
    defaults.prepare_environment(enforce_eager=False)
    assert environment["VLLM_WORKER_MULTIPROC_METHOD"] == "fork"
