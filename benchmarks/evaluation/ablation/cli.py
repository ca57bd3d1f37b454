"""The command `llava-interleave eval ablation`: asks the same questions by pooling and number of frames."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from llava_interleave_serve.benchmarks.evaluation import options
from llava_interleave_serve.benchmarks.evaluation.ablation import table, visual_budget
from llava_interleave_serve.benchmarks.evaluation.prompts import VisualOptions
from llava_interleave_serve.benchmarks.evaluation.run import answer_records
from llava_interleave_serve.benchmarks.evaluation.scoring import aggregate

FRAMES = (10, 16, 40, 64)  # the appendix's Table 1
DEFAULT_STRIDE = 2


def parser() -> argparse.ArgumentParser:
    """Returns the parser of `llava-interleave eval ablation`."""
    parser = argparse.ArgumentParser(
        prog="llava-interleave eval ablation",
        description="Asks the questions of a video dataset with each pooling and number of frames, and writes what the "
        "server's max_visual_tokens should conclude (llava-interleave serve --visual-budget). Run again, it goes on.",
        allow_abbrev=False,
    )
    options.add_shared_options(parser, concurrency=1)  # others under way would add to a time to first token
    parser.add_argument(
        "--poolings", nargs="+", choices=options.POOLINGS, default=list(options.POOLINGS), help="Poolings (all)."
    )
    parser.add_argument(
        "--strides",
        nargs="+",
        type=int,
        choices=options.STRIDES,
        default=[DEFAULT_STRIDE],
        help="Strides of the poolings (2).",
    )
    parser.add_argument(
        "--frames", nargs="+", type=options.positive_int, default=list(FRAMES), help="Frames a video (%(default)s)."
    )
    return parser


def run_ablation(argv: list[str]) -> int:
    """Runs `llava-interleave eval ablation FILE... --out DIR`. Returns 0 if every question is answered, else 1."""
    arguments = parser().parse_args(argv)
    records = options.records_from(arguments)
    server = options.server_from(arguments)
    rows = []
    for setting in grid(arguments):
        folder = arguments.out / folder_name(setting)
        run = asyncio.run(answer_records(records, folder, server, setting, arguments.style))
        if exit_code := run.outcome.report():
            return exit_code
        results = aggregate.score_datasets(records, run.answers, arguments.style)
        rows.append(table.ablation_row(setting, results, run.answers))
        _write(arguments.out, rows)
    print(table.ablation_table(rows), end="")
    try:
        steps = visual_budget.budget_steps(rows)
    except ValueError as error:
        print(f"visual_budget.json is not written: {error}", file=sys.stderr)
        return 0
    (arguments.out / "visual_budget.json").write_text(json.dumps(steps, indent=1) + "\n")
    return 0


def grid(arguments: argparse.Namespace) -> list[VisualOptions]:
    """Returns the settings: every pooling with every stride, each with every number of frames."""
    poolings: list[tuple[str, int | None]] = []
    for pooling in arguments.poolings:
        strides = [None] if pooling == table.UNPOOLED else arguments.strides
        poolings += [(pooling, stride) for stride in strides]
    return [VisualOptions(pooling, stride, frames) for pooling, stride in poolings for frames in arguments.frames]


def folder_name(setting: VisualOptions) -> str:
    """Returns the name of the folder with a setting's answers, such as `bilinear-2-16` or `none-10`."""
    return "-".join(str(part) for part in (setting.pooling, setting.pool_stride, setting.num_frames) if part)


def _write(folder: Path, rows: list[table.AblationRow]) -> None:
    (folder / "ablation.json").write_text(json.dumps(table.as_json(rows), indent=1) + "\n")
    (folder / "ablation.md").write_text(table.ablation_table(rows))
