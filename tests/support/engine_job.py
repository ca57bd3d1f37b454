"""Runs prompts on a vLLM engine in a new process, since a second engine in one process does not start cleanly.

Tests call `run`, which starts `python -m tests.support.engine_job CHECKPOINT JOBS RESULTS DTYPE`.
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
    """A prompt to run.

    token_ids: with one placeholder for each visual.
    views: uint8 [n, S, S, 3], one for each visual.
    poolings: one for each visual; empty for no pooling.
    new_tokens: the number of tokens to generate.
    """

    token_ids: list[int]
    views: np.ndarray
    poolings: list[Pooling] = field(default_factory=list)
    new_tokens: int = 32

    def visuals(self) -> list[Visual]:
        poolings = self.poolings or [UNPOOLED] * len(self.views)
        return [Visual(view[None], pooling) for view, pooling in zip(self.views, poolings, strict=True)]


@dataclass
class Result:
    """The answer to a job.

    prompt_token_ids: with one placeholder for each row of each visual.
    logprobs: float32 [len(prompt_token_ids) - 1, vocabulary], of each next token of the prompt.
    new_token_ids: generated greedily.
    """

    prompt_token_ids: list[int]
    logprobs: torch.Tensor
    new_token_ids: list[int]


class EngineFailed(Exception):
    """The engine's process failed; the message is what it printed."""


def run(checkpoint: Path, jobs: list[Job], dtype: str = "float32") -> list[Result]:
    """Runs all jobs together, and returns a result for each.

    Raises EngineFailed if the engine's process does.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("jobs", "results")]
        torch.save(jobs, paths[0])
        command = [sys.executable, "-m", "tests.support.engine_job", str(checkpoint), *paths, dtype]
        process = subprocess.run(
            command,
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src")))},
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            raise EngineFailed(process.stdout + process.stderr)
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
    from tests.support import (
        engine_job,
    )  # jobs and results are pickled under this module's full name, not as __main__'s

    engine_job._main(*sys.argv[1:])
