"""Compiled kernels use few resources. They compile in another process, because Triton interprets them in this one."""

import json
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = "llava_interleave_serve.benchmarks.kernels.compiled_resources"
TARGETS = ("80", "90", "100")


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    command = [sys.executable, "-m", SCRIPT, "--targets", *TARGETS]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def test_one_variant_of_a_kernel_serves_any_number_of_visuals(lines: list[dict[str, Any]]) -> None:
    assert [line["variants"] for line in lines] == [1] * len(lines)


def test_compiled_kernels_spill_no_registers(lines: list[dict[str, Any]]) -> None:
    assert len(lines) == 7 * len(TARGETS)
    for line in lines:
        assert (line["spills"], line["stack"], line["shared"]) == (0, 0, 0), line


def test_compiled_kernels_move_channels_by_128_bits(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        assert line["stores"] == [128], line
        # Token ids, row indices and the index plan are scalars; a patch's line of 42 bytes begins at an even address.
        assert max(line["loads"]) == (32 if line["kernel"] == "patchify" else 128), line
        assert 8 not in line["loads"], line
