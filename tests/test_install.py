"""scripts/install.sh installs the lock of the device, and refuses a driver that is too old for it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def install(folder: Path, driver: str | None) -> tuple[subprocess.CompletedProcess[str], str]:
    """Runs `install.sh PYTHON gpu` with a Python that writes down its arguments, on a machine with such a driver."""
    python, calls = folder / "python", folder / "calls"
    python.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    python.chmod(0o755)
    if driver is not None:
        smi = folder / "nvidia-smi"
        smi.write_text(f"#!/bin/sh\necho {driver}\necho {driver}\n")
        smi.chmod(0o755)
    run = subprocess.run(
        [ROOT / "scripts" / "install.sh", python, "gpu"],
        env=os.environ | {"PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    return run, calls.read_text() if calls.exists() else ""


@pytest.mark.parametrize("driver", ["550.54.15", "575.51.03"])
def test_a_driver_before_cuda_13_is_refused_in_one_sentence(driver: str, tmp_path: Path) -> None:
    run, calls = install(tmp_path, driver)
    assert (run.returncode, calls) == (2, "")
    assert run.stderr.startswith(f"install.sh: the NVIDIA driver is {driver}, but torch for CUDA 13 needs 580 or newer")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize("driver", ["580.65.06", "1000.1", None])
def test_the_whole_lock_is_installed_without_resolution(driver: str | None, tmp_path: Path) -> None:
    run, calls = install(tmp_path, driver)
    assert run.returncode == 0, run.stderr
    assert "install --no-deps -r requirements/gpu.txt" in calls


def test_both_locks_pin_every_package_and_share_the_versions_of_this_project() -> None:
    locks = {}
    for device in ("cpu", "gpu"):
        lines = (ROOT / "requirements" / f"{device}.txt").read_text().splitlines()
        pins = [line.split("==") for line in lines if line and not line.startswith("#")]
        assert all(len(pin) == 2 for pin in pins)
        locks[device] = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins}
    cpu, gpu = locks["cpu"], locks["gpu"]
    assert len(gpu) > 200
    assert {"vllm", "torch", "triton", "nvidia-cublas", "nvidia-nccl-cu13", "flashinfer-python"} <= set(gpu)
    differing = {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]}
    assert differing == {"triton", "apache-tvm-ffi"}


def test_what_an_image_compiles_at_its_start_is_kept_on_the_volume() -> None:
    image = (ROOT / "Dockerfile").read_text()
    assert "\nVOLUME /models\n" in image
    for cache in ("VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "HF_HOME"):
        assert f" {cache}=/models" in image
    assert " NVIDIA_VISIBLE_DEVICES=all " in image
    assert " NVIDIA_DRIVER_CAPABILITIES=compute,utility " in image
