"""Runs prompts on a vLLM engine inside a process of its own: an engine leaves too much behind for a second one.

`python engine_job.py CHECKPOINT JOBS RESULTS DTYPE`; use `run`.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling, Visual

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCHDYNAMO_DISABLE": "1",
}


@dataclass
class Job:
    """token_ids: with one placeholder a visual; views: uint8 [n, S, S, 3]."""

    token_ids: list[int]
    views: np.ndarray
    poolings: list[Pooling] = field(default_factory=list)
    new_tokens: int = 32

    def visuals(self) -> list[Visual]:
        poolings = self.poolings or [UNPOOLED] * len(self.views)
        return [Visual(view[None], pooling) for view, pooling in zip(self.views, poolings, strict=True)]


@dataclass
class Result:
    """prompt_token_ids: expanded; logprobs: float32 [len(prompt) - 1, vocabulary], of each next prompt token."""

    prompt_token_ids: list[int]
    logprobs: torch.Tensor
    new_token_ids: list[int]


class EngineFailed(Exception):
    """The engine did not start, or ended early; holds what it printed."""


def run(checkpoint: Path, jobs: list[Job], dtype: str = "float32") -> list[Result]:
    """The jobs' results, all run together."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("jobs", "results")]
        torch.save(jobs, paths[0])
        command = [sys.executable, "-m", "tests.support.engine_job", str(checkpoint), *paths, dtype]
        done = subprocess.run(
            command,
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise EngineFailed(done.stdout + done.stderr)
        results: list[Result] = torch.load(paths[1], weights_only=False)
        return results


def _main(checkpoint: str, jobs_path: str, results_path: str, dtype: str) -> None:
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=checkpoint,
        hf_overrides={"architectures": ["LlavaInterleaveForConditionalGeneration"]},
        dtype=dtype,
        enforce_eager=True,
        distributed_executor_backend="uni",
        skip_mm_profiling=True,
        max_model_len=2048,
        max_logprobs=-1,
        limit_mm_per_prompt={"image": 16, "video": 0},
        enable_prefix_caching=False,
    )
    jobs: list[Job] = torch.load(jobs_path, weights_only=False)
    prompts = [{"prompt_token_ids": job.token_ids, "multi_modal_data": {"image": job.visuals()}} for job in jobs]
    settings = [
        SamplingParams(max_tokens=job.new_tokens, temperature=0.0, ignore_eos=True, prompt_logprobs=-1) for job in jobs
    ]
    results = []
    for output in engine.generate(prompts, settings, use_tqdm=False):
        rows = [[row[token].logprob for token in range(len(row))] for row in output.prompt_logprobs[1:]]
        results.append(Result(output.prompt_token_ids, torch.tensor(rows), list(output.outputs[0].token_ids)))
    torch.save(results, results_path)


if __name__ == "__main__":
    from tests.support import engine_job  # by the name under which the jobs were saved, and the results must be

    engine_job._main(*sys.argv[1:])
