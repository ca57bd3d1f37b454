"""The command `llava-interleave eval ablation`: the same questions by pooling and number of frames."""

import argparse
import asyncio
import itertools
import json
import sys
from pathlib import Path

from llava_interleave_serve.benchmarks.evaluation.ablation import table, visual_budget
from llava_interleave_serve.benchmarks.evaluation.cli import (
    POOLINGS,
    STRIDES,
    add_bench_options,
    answer,
    positive,
    records_of,
    say,
    server_of,
)
from llava_interleave_serve.benchmarks.evaluation.prompts import Visuals
from llava_interleave_serve.benchmarks.evaluation.scoring import aggregate

FRAMES = (10, 16, 40, 64)  # the appendix's Table 1
DEFAULT_STRIDE = 2


def parser() -> argparse.ArgumentParser:
    """The options of `llava-interleave eval ablation`."""
    parser = argparse.ArgumentParser(
        prog="llava-interleave eval ablation",
        description="Asks the questions of a video bench with each pooling and number of frames, and writes what the "
        "server's max_visual_tokens should conclude (llava-interleave serve --visual-budget). Run again, it goes on.",
    )
    add_bench_options(parser, concurrency=1)  # a time to first token that waited behind other questions says nothing
    parser.add_argument("--poolings", nargs="+", choices=POOLINGS, default=list(POOLINGS), help="Poolings (all).")
    parser.add_argument(
        "--strides", nargs="+", type=int, choices=STRIDES, default=[DEFAULT_STRIDE], help="Strides of the poolings (2)."
    )
    parser.add_argument(
        "--frames", nargs="+", type=positive, default=list(FRAMES), help="Frames a video (%(default)s)."
    )
    return parser


def ablate(argv: list[str]) -> int:
    """`llava-interleave eval ablation FILE... --out DIR`: 0 if every question is answered, else 1."""
    arguments = parser().parse_args(argv)
    records = records_of(arguments)
    rows = []
    for visuals in settings(arguments):
        folder = arguments.out / name(visuals)
        outcome, answers = asyncio.run(answer(records, folder, server_of(arguments), visuals, arguments.style))
        if code := say(outcome):
            return code
        rows.append(table.row(visuals, aggregate.data_sets(records, answers, arguments.style), answers))
        _write(arguments.out, rows)
    print(table.text(rows), end="")
    try:
        budget = visual_budget.visual_budget(rows)
    except ValueError as error:
        print(f"visual_budget.json is not written: {error}", file=sys.stderr)
        return 0
    (arguments.out / "visual_budget.json").write_text(json.dumps(budget, indent=1) + "\n")
    return 0


def settings(arguments: argparse.Namespace) -> list[Visuals]:
    """The grid: every pooling with every stride, by every number of frames."""
    modes: list[tuple[str, int | None]] = []
    for pooling in arguments.poolings:
        modes += [(pooling, None)] if pooling == table.UNPOOLED else itertools.product([pooling], arguments.strides)
    return [Visuals(pooling, stride, frames) for pooling, stride in modes for frames in arguments.frames]


def name(visuals: Visuals) -> str:
    """The folder of a setting's answers."""
    return "-".join(str(part) for part in (visuals.pooling, visuals.pool_stride, visuals.num_frames) if part)


def _write(folder: Path, rows: list[table.Row]) -> None:
    (folder / "ablation.json").write_text(json.dumps(table.as_json(rows), indent=1) + "\n")
    (folder / "ablation.md").write_text(table.text(rows))
