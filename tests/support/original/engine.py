"""Runs prompts of the vectors on vLLM's engine in a new process, and keeps what the language model read and gave.

Tests call `run`, which starts `python -m tests.support.original.engine CHECKPOINT QUESTIONS RESULTS`.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.support import engine_job

PENALTY_PROCESSOR = "llava_interleave_serve.model_executor.original.output_penalty:OutputRepetitionPenalty"
LAST = 5  # positions of the prompt whose logits are kept


@dataclass
class Question:
    """A prompt with its media.

    prompt: token ids or text, with one placeholder for each medium. media: by modality, as vLLM takes them. penalties:
    the output is asked for once with each.
    """

    prompt: list[int] | str
    media: dict[str, list[Any]]
    penalties: tuple[float, ...] = (1.0,)


@dataclass
class Reply:
    """What the engine made of a question.

    prompt: with a placeholder for each row. embeddings: float32 [len(prompt), C]. logits: float32 [LAST, vocabulary].
    outputs: of 16 tokens, one for each penalty. cached: tokens of the prompt that the prefix cache had, each time
    that it was asked.
    """

    prompt: list[int]
    embeddings: torch.Tensor
    logits: torch.Tensor
    outputs: list[list[int]]
    cached: list[int]


def run(checkpoint: Path, questions: list[Question], **options: Any) -> list[Reply]:
    """Asks each question alone, and then all together. Raises EngineFailed if an answer is another then.

    options: of vLLM's LLM.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("questions", "replies")]
        torch.save((questions, options), paths[0])
        command = [sys.executable, "-m", "tests.support.original.engine", str(checkpoint), *paths]
        roots = {"PYTHONPATH": os.pathsep.join((str(engine_job.ROOT), str(engine_job.ROOT / "src")))}
        process = subprocess.run(
            command, env=os.environ | engine_job.ENVIRONMENT | roots, capture_output=True, text=True, check=False
        )
        if process.returncode:
            raise engine_job.EngineFailed(process.stdout + process.stderr)
        replies: list[Reply] = torch.load(paths[1], weights_only=False)
        return replies


def _main(checkpoint: str, questions_path: str, replies_path: str) -> None:
    from vllm import LLM, SamplingParams

    questions: list[Question]
    questions, options = torch.load(questions_path, weights_only=False)
    defaults = {
        "dtype": "float32",
        "enforce_eager": True,
        "distributed_executor_backend": "uni",
        "max_model_len": 2048,
        "limit_mm_per_prompt": {"image": 16, "video": 1},
        "enable_prefix_caching": False,
        "logits_processors": [PENALTY_PROCESSOR],
        "generation_config": "vllm",
    }
    engine = LLM(model=checkpoint, **(defaults | options))
    kept: dict[str, torch.Tensor] = {}

    def keep(model: Any) -> None:
        def before(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            kept.setdefault("embeddings", keywords["inputs_embeds"].clone())

        def after(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], hidden: torch.Tensor) -> None:
            kept.setdefault("logits", model.compute_logits(hidden[-LAST:]).float().clone())

        model.register_forward_pre_hook(before, with_kwargs=True)
        model.register_forward_hook(after, with_kwargs=True)

    engine.apply_model(keep)
    prompts: list[Any] = [
        {"prompt" if isinstance(each.prompt, str) else "prompt_token_ids": each.prompt, "multi_modal_data": each.media}
        for each in questions
    ]
    settings = [[_sampling(SamplingParams, penalty) for penalty in each.penalties] for each in questions]
    replies = []
    for prompt, samplings in zip(prompts, settings, strict=True):
        kept.clear()
        outputs = [engine.generate([prompt], [sampling], use_tqdm=False)[0] for sampling in samplings]
        tokens = [list(output.outputs[0].token_ids) for output in outputs]
        prompt_ids = list(outputs[0].prompt_token_ids)
        cached = [output.num_cached_tokens or 0 for output in outputs]
        replies.append(Reply(prompt_ids, kept["embeddings"][: len(prompt_ids)], kept["logits"], tokens, cached))
    order = [(index, turn) for index, each in enumerate(settings) for turn in range(len(each))]
    together = engine.generate(
        [prompts[index] for index, _ in order], [settings[index][turn] for index, turn in order], use_tqdm=False
    )
    for (index, turn), output in zip(order, together, strict=True):
        if list(output.outputs[0].token_ids) != replies[index].outputs[turn]:
            raise RuntimeError(f"question {index}, penalty {turn}: another answer in a batch than alone")
        replies[index].cached.append(output.num_cached_tokens or 0)
    torch.save(replies, replies_path)


def _sampling(params: Any, penalty: float) -> Any:
    return params(max_tokens=16, temperature=0.0, ignore_eos=True, extra_args={"output_repetition_penalty": penalty})


if __name__ == "__main__":
    # Questions and replies are pickled under this module's full name, which is not __main__.
    from tests.support.original import engine

    engine._main(*sys.argv[1:])
