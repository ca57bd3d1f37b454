"""The processors that a process may use follow from its affinity and its container's quota."""

import os
from pathlib import Path

import pytest

from llava_interleave_serve.server import cpus

AFFINITY = len(os.sched_getaffinity(0))


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cpus, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    (tmp_path / "cpu").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("200000 100000\n", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("max 100000", 64),
        ("9900000 100000", 64),
        ("", 64),
        ("100000 0", 64),
    ],
)
def test_version_2_of_control_groups(cgroup: Path, quota: str, expected: int) -> None:
    (cgroup / "cpu.max").write_text(quota)
    assert cpus.available_cpus() == expected


@pytest.mark.parametrize(("quota", "expected"), [("400000", 4), ("-1", 64)])
def test_version_1_of_control_groups(cgroup: Path, quota: str, expected: int) -> None:
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cpus.available_cpus() == expected


def test_without_control_groups_the_affinity_decides(cgroup: Path) -> None:
    assert cpus.available_cpus() == 64
