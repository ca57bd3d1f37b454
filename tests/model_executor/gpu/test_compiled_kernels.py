"""Kernels are compiled while the model is made. Another process tells, because Triton interprets them in this one."""

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("arguments", "pool_packs"), [([], 1), (["original"], 3)])
def test_no_kernel_is_compiled_after_the_model_is_made(arguments: list[str], pool_packs: int) -> None:
    """For batches of 1 to 16 visuals, every pooling and mixes of them, and prefills that begin inside a visual."""
    command = [sys.executable, "-m", "tests.support.gpu.kernel_variants", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    variants = json.loads(run.stdout.splitlines()[-1])
    assert sorted(variants["at load"].values()) == [
        *["merge_prefill_kernel"] * 2,
        "patchify_kernel",
        *["pool_pack_kernel"] * pool_packs,
    ]
    assert set(variants["later"]) == set(variants["at load"])
