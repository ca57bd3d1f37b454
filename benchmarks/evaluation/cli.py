"""The command `llava-interleave eval`: asks a server the questions of datasets and reports the scores."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llava_interleave_serve.benchmarks.evaluation import options
from llava_interleave_serve.benchmarks.evaluation.ablation import cli as ablation_cli
from llava_interleave_serve.benchmarks.evaluation.answer_store import AnswerStoreError
from llava_interleave_serve.benchmarks.evaluation.client import Unreachable
from llava_interleave_serve.benchmarks.evaluation.dataset.records import DatasetError
from llava_interleave_serve.benchmarks.evaluation.prompts import VisualOptions
from llava_interleave_serve.benchmarks.evaluation.reports import html, markdown
from llava_interleave_serve.benchmarks.evaluation.run import answer_records
from llava_interleave_serve.benchmarks.evaluation.scoring import aggregate


def parser() -> argparse.ArgumentParser:
    """Returns the parser of `llava-interleave eval`."""
    parser = argparse.ArgumentParser(
        prog="llava-interleave eval",
        description="Asks a server the questions of datasets, and prints its scores beside the paper's. Run again, it "
        "goes on where it was. `llava-interleave eval ablation --help`: the same questions by pooling and number of "
        "frames.",
        allow_abbrev=False,
    )
    options.add_shared_options(parser, concurrency=16)
    parser.add_argument(
        "--pooling", choices=options.POOLINGS, help="Pooling of every image and frame (the server's own)."
    )
    parser.add_argument(
        "--pool-stride", type=int, choices=options.STRIDES, help="Stride of the pooling (the server's own)."
    )
    parser.add_argument("--num-frames", type=options.positive_int, help="Frames of every video (the server's own).")
    parser.add_argument(
        "--repetition-penalty",
        type=float,
        metavar="PENALTY",
        help="Repetition penalty of every answer (the server's own: that of the checkpoint's generation_config.json; 1 "
        "leaves it out).",
    )
    parser.add_argument(
        "--report-limit", type=int, default=200, help="Answers of a dataset that report.html shows (%(default)s)."
    )
    return parser


def evaluate(argv: list[str]) -> int:
    """Runs `llava-interleave eval FILE... --out DIR`. Returns 0 if every question is answered, else 1."""
    command = parser()
    arguments = command.parse_args(argv)
    if arguments.pool_stride is not None and arguments.pooling in (None, "none"):
        command.error("--pool-stride needs --pooling to be average, max or bilinear")
    visual_options = VisualOptions(arguments.pooling, arguments.pool_stride, arguments.num_frames)
    records = options.records_from(arguments)
    server = options.server_from(arguments)
    run = asyncio.run(
        answer_records(records, arguments.out, server, visual_options, arguments.style, arguments.repetition_penalty)
    )
    results = aggregate.score_datasets(records, run.answers, arguments.style)
    splits = aggregate.group_into_splits(results, records, arguments.style)
    table = markdown.score_table(splits)
    table += asked_note(run.settings)
    (arguments.out / "table.md").write_text(table)
    summary = {**_summary(results, splits), "settings": run.settings}
    (arguments.out / "scores.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(table, end="")
    html.write(arguments.out / "report.html", results, splits, arguments.report_limit)
    return run.outcome.report()


def asked_note(settings: Mapping[str, Any]) -> str:
    """Returns the line of the table on what answers depend on beside the model; nothing where the server says nothing.

    Greedy answers depend on a repetition penalty; temperature, top_k and top_p of a checkpoint do not count.
    """
    sampling = settings.get("sampling_defaults", {})
    penalties = [
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in (
            [("repetition_penalty", settings["repetition_penalty"])]
            if "repetition_penalty" in settings
            else [(name, sampling[name]) for name in sampling if name.endswith("repetition_penalty")]
        )
    ]
    if "prompt_style" not in settings:
        return ""
    decoding = ", ".join(["greedy", *(penalties or ["no repetition penalty"])])
    return f"\nAsked with prompts of the style {settings['prompt_style']}; {decoding}.\n"


def _summary(results: Sequence[aggregate.DatasetResult], splits: Sequence[aggregate.SplitResult]) -> dict[str, Any]:
    """Returns the content of scores.json, whose keys are part of the command's interface."""
    categories = [category for split in splits for category in split.categories if category.datasets]
    return {
        "data_sets": {
            result.name: {
                "score": result.score,
                "metric": result.metric,
                "n": len(result.values),
                "refused": result.refused,
                "unanswered": result.unanswered,
            }
            for result in results
        },
        "categories": {category.row.title: category.score for category in categories},
        "splits": {split.title: aggregate.mean_score(split.categories) for split in splits},
        "all_categories": aggregate.mean_score(categories),
    }


def main(argv: list[str]) -> int:
    """Runs `llava-interleave eval …` or `llava-interleave eval ablation …`, and returns the exit code."""
    command: Callable[[list[str]], int] = evaluate
    if argv[:1] == ["ablation"]:
        command, argv = ablation_cli.run_ablation, argv[1:]
    try:
        return command(argv)
    except (DatasetError, AnswerStoreError, Unreachable) as error:
        print(f"llava-interleave eval: {error}", file=sys.stderr)
        return 1
