"""Tests that need what this machine may lack are collected, and skipped with one reason."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.fakes.platform import GPU_MISSING

TESTS = Path(__file__).resolve().parent
ON_A_GPU = re.compile(r"^(pytestmark = |@)pytest\.mark\.gpu$", re.MULTILINE)


def test_tests_of_a_gpu_are_collected_and_skipped_with_one_reason_where_there_is_none() -> None:
    files = sorted(str(file) for file in TESTS.rglob("test_*.py") if ON_A_GPU.search(file.read_text()))
    assert len(files) >= 2
    # `make gpu-check` runs those of these folders.
    assert {Path(file).relative_to(TESTS).parts[0] for file in files} == {"kernels", "model_executor"}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *files],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    reasons = set(re.findall(r"^SKIPPED \[\d+\] [^ ]+ (.*)$", run.stdout, re.MULTILINE))
    assert reasons == {GPU_MISSING}
    assert re.search(r"^\d+ skipped(, \d+ deselected)? in", run.stdout, re.MULTILINE), run.stdout
