"""The machine code of the kernels, compiled without a GPU, in another process since here they are interpreted."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "kernels" / "compiled_resources.py"
TARGETS = ("80", "90", "100")


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    command = [sys.executable, str(SCRIPT), "--targets", *TARGETS]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def test_nothing_is_spilled(lines: list[dict[str, Any]]) -> None:
    assert len(lines) == 5 * len(TARGETS)
    for line in lines:
        assert (line["spills"], line["stack"], line["shared"]) == (0, 0, 0), line


def test_channels_move_128_bits_at_a_time(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        assert line["stores"] == [128], line
        # Ids, row indices and plans are scalars; a patch's line of 42 bytes begins at an even address.
        assert max(line["loads"]) == (32 if line["kernel"] == "patchify" else 128), line
        assert 8 not in line["loads"], line
