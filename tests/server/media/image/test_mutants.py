"""Damaged pictures of every format are decoded or refused, in a process of its own that may crash.

`python -m tests.support.pictures.fuzz --seconds 600 --seed 1` is a longer run.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pictures import fuzz, structures

ROOT = Path(__file__).resolve().parents[4]
SECONDS = 4
SAMPLES = fuzz.samples()


def test_damaged_pictures_are_decoded_or_refused_in_time_and_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.pictures.fuzz", "--seconds", str(SECONDS)]
    run = subprocess.run(
        [*command, "--keep", str(tmp_path / "picture")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    report = json.loads(run.stdout.splitlines()[-1])
    assert min(report["decoded"], report["invalid_media"]) > report["pictures"] / 20


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_a_picture_that_is_taken_apart_and_put_together_is_the_same(number: int) -> None:
    data = SAMPLES[number]
    pairs = {
        b"\x89PNG": (structures.png_pieces, structures.png_file),
        b"\xff\xd8": (structures.jpeg_pieces, structures.jpeg_file),
        b"RIFF": (structures.riff_pieces, structures.riff_file),
    }
    for signature, (take_apart, put_together) in pairs.items():
        if data.startswith(signature):
            again = put_together(take_apart(data))
            assert again == data[: len(again)]
    if data[4:8] == b"ftyp":
        assert structures.box_file(structures.box_pieces(data)) == data


def test_damage_is_the_same_for_the_same_seed() -> None:
    files = SAMPLES[:6]
    assert structures.mutant(random.Random(3), files) == structures.mutant(random.Random(3), files)
    assert fuzz.picture(1, 7, files) == fuzz.picture(1, 7, files)
