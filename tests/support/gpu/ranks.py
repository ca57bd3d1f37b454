"""Compares the demo's tower and projector on two tensor parallel ranks with one: `python -m tests.support.gpu.ranks`.

Prints as JSON, by `--mm-encoder-tp-mode` and number of views, the largest difference between any rank's rows and those
of one rank, relative to their largest value, and the views that each rank's tower had in its calls. "graphs" is the
mode "data" in encoder graphs, which are recorded; of these, the views in each replay, and the bytes that each visual's
rows keep alive beside themselves.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlavaConfig
from vllm.config import set_current_vllm_config
from vllm.v1.worker.encoder_cudagraph import EncoderCudaGraphManager

from llava_interleave_serve.model_executor import encoder_limits
from llava_interleave_serve.model_executor.model import LlavaInterleaveForConditionalGeneration
from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling
from tests.support import checkpoints, encoder_half
from tests.support.checkpoints import IMAGE_SIZE, PATCHES
from tests.support.fakes import platform
from tests.support.gpu import graph_recorder
from tests.support.vllm_scheduler import demo_config

RANKS = 2
VIEWS = (1, 2, 3, 5)
MODES = ("weights", "data", "graphs")
LARGEST_GRAPH = 2  # views
POOLINGS = [UNPOOLED, Pooling("max", 2), Pooling("bilinear", 2), Pooling("average", 3), UNPOOLED]


def given(count: int) -> dict[str, torch.Tensor]:
    """So many views, each with another pooling."""
    random = torch.Generator().manual_seed(count)
    views = torch.randint(0, 256, (count, 1, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=torch.uint8, generator=random)
    return {"views": views, "packings": encoder_half.packings(POOLINGS[:count])}


def encode(model: LlavaInterleaveForConditionalGeneration, count: int) -> torch.Tensor:
    """The rows of so many views, one pooling after the other: [R, C]."""
    with torch.inference_mode():
        return torch.cat(list(model.embed_multimodal(**given(count))))


def run_graphs(rank: int, ranks: int, folder: Path, patch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Encodes VIEWS by vLLM's manager of encoder graphs on one of the ranks, each of which encodes a share."""
    config = demo_config(mm_encoder_tp_mode="data", tensor_parallel_size=ranks)
    patch.setattr(encoder_limits, "PATCHES_A_CALL", LARGEST_GRAPH * PATCHES)
    graph_recorder.install(patch)
    with set_current_vllm_config(config), encoder_half.rank_of(rank, ranks, folder), torch.inference_mode():
        model = encoder_half.make(LlavaConfig.from_pretrained(checkpoints.DEMO), torch.float32)
        encoder_half.load(model, checkpoints.DEMO)
        manager = EncoderCudaGraphManager(config, torch.device("cpu"), torch.float32, model)
        manager.capture(None)
        graphs = manager.budget_graphs["default"].values()
        results = []
        for count in VIEWS:
            for each in graphs:
                each.graph.replays = 0
            rows = manager.execute(given(count))
            replays = [[len(each.input_buffers["views"])] * each.graph.replays for each in graphs]
            results.append(
                {
                    "rows": torch.cat(rows),
                    "views": sorted(itertools.chain(*replays), reverse=True),
                    "kept": sum(each.untyped_storage().nbytes() - each.nbytes for each in rows),
                }
            )
        return results


def run(rank: int, ranks: int, mode: str, folder: Path) -> list[dict[str, Any]]:
    """Encodes VIEWS on one of the ranks; the rows and the views of each call of this rank's tower."""
    config = demo_config(mm_encoder_tp_mode=mode)
    with set_current_vllm_config(config), encoder_half.rank_of(rank, ranks, folder):
        model = encoder_half.make(LlavaConfig.from_pretrained(checkpoints.DEMO), torch.float32)
        encoder_half.load(model, checkpoints.DEMO)
        calls: list[int] = []
        model.vision_tower.register_forward_pre_hook(lambda _, views: calls.append(len(views[0])))
        results = []
        for count in VIEWS:
            calls.clear()
            results.append({"rows": encode(model, count), "views": list(calls)})
        return results


def main() -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        platform.take_for_a_gpu(patch)
        folder = Path(name)
        if len(sys.argv) > 1:
            rank, place = int(sys.argv[1]), Path(sys.argv[2])
            for mode in MODES:
                (place / mode).mkdir(exist_ok=True)
                if mode == "graphs":
                    results = run_graphs(rank, RANKS, place / mode, patch)
                else:
                    results = run(rank, RANKS, mode, place / mode)
                torch.save(results, place / f"{mode} {rank}")
            return
        command = [sys.executable, "-m", "tests.support.gpu.ranks"]
        named = os.environ | {"VLLM_DIST_IDENT": folder.name}  # of vLLM's shared memory
        processes = [
            subprocess.Popen([*command, str(rank), name], stdout=sys.stderr, env=named) for rank in range(RANKS)
        ]
        alone = run(0, 1, "weights", folder)
        if any(process.wait() for process in processes):
            sys.exit("a rank failed")
        report: dict[str, Any] = {}
        for mode in MODES:
            by_rank = [torch.load(folder / f"{mode} {rank}") for rank in range(RANKS)]
            for index, count in enumerate(VIEWS):
                expected = alone[index]["rows"]
                differences = [float((each[index]["rows"] - expected).abs().max()) for each in by_rank]
                report[f"{mode} {count}"] = {
                    "difference": max(differences) / float(expected.abs().max()),
                    "views": [each[index]["views"] for each in by_rank],
                    "kept": [each[index].get("kept", 0) for each in by_rank],
                }
        print(json.dumps(report))


if __name__ == "__main__":
    main()
