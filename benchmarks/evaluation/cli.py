"""The command `llava-interleave eval`: asks a server the questions of a bench, and sets out what it scored."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from llava_interleave_serve.benchmarks.evaluation.answer_store import Answers, AnswersError
from llava_interleave_serve.benchmarks.evaluation.client import Asker, Unreachable
from llava_interleave_serve.benchmarks.evaluation.dataset import json_format
from llava_interleave_serve.benchmarks.evaluation.dataset.records import BenchError, Record
from llava_interleave_serve.benchmarks.evaluation.prompts import Visuals
from llava_interleave_serve.benchmarks.evaluation.reports import html, markdown
from llava_interleave_serve.benchmarks.evaluation.run import Outcome, Run
from llava_interleave_serve.benchmarks.evaluation.scoring import aggregate, metrics

POOLINGS = ("none", "average", "max", "bilinear")
STRIDES = (2, 3, 4)
FAILURES_SHOWN = 5
CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Server:
    """The server that is asked, and how."""

    base_url: str
    api_key: str | None
    model: str | None
    timeout: float
    concurrency: int


def add_bench_options(parser: argparse.ArgumentParser, concurrency: int) -> None:
    """What is asked of which server; of the plain command and of the ablation."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="Bench files: .json or .parquet.")
    parser.add_argument(
        "--media-folder", type=Path, metavar="DIR", help="Where a JSON file's images and videos lie (beside it)."
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="Folder for answers and results.")
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1", help="The server's API (%(default)s).")
    parser.add_argument("--api-key", help="Key that the server wants.")
    parser.add_argument("--model", help="Model to ask (the first that the server lists).")
    parser.add_argument(
        "--concurrency", type=positive, default=concurrency, help="Conversations at once (%(default)s)."
    )
    parser.add_argument("--timeout", type=float, default=600.0, help="Seconds without a byte (%(default)s).")
    parser.add_argument("--limit", type=positive, help="Ask only so many records of each data set.")
    parser.add_argument(
        "--style", choices=metrics.STYLES, default="reference", help="Whose metrics and answer length (%(default)s)."
    )


def positive(text: str) -> int:
    """An option's number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def server_of(arguments: argparse.Namespace) -> Server:
    base_url = f"{arguments.base_url.rstrip('/')}/"
    return Server(base_url, arguments.api_key, arguments.model, arguments.timeout, arguments.concurrency)


def records_of(arguments: argparse.Namespace) -> list[Record]:
    """The records that the options choose. Raises BenchError."""
    records = json_format.read(arguments.files, arguments.media_folder)
    return records if arguments.limit is None else json_format.first_of_each(records, arguments.limit)


async def answer(
    records: Sequence[Record], folder: Path, server: Server, visuals: Visuals, style: metrics.Style
) -> tuple[Outcome, Answers]:
    """Asks what the folder has no answer to, with progress on stderr. Raises BenchError, AnswersError, Unreachable."""
    max_tokens = metrics.MAX_TOKENS[style]
    headers = {} if server.api_key is None else {"Authorization": f"Bearer {server.api_key}"}
    timeout = httpx.Timeout(server.timeout, connect=CONNECT_SECONDS, pool=None)
    limits = httpx.Limits(max_connections=server.concurrency, max_keepalive_connections=server.concurrency)
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, timeout=timeout, limits=limits) as http:
        asker = Asker(http, max_tokens=max_tokens, model=server.model)
        settings = {"model": await asker.model(), "style": style, "max_tokens": max_tokens, **asdict(visuals)}
        with Answers(folder, settings) as answers:
            turns = sum(len(record.turns) for record in records)
            with tqdm(total=turns, initial=_answered(records, answers), unit="answer", file=sys.stderr) as bar:
                run = Run(asker, answers, visuals, bar.update)
                outcome = await run.all(records, server.concurrency)
    return outcome, answers


def _answered(records: Sequence[Record], answers: Answers) -> int:
    return sum(answers.of(record, turn) is not None for record in records for turn in range(len(record.turns)))


def parser() -> argparse.ArgumentParser:
    """The options of `llava-interleave eval`."""
    parser = argparse.ArgumentParser(
        prog="llava-interleave eval",
        description="Asks a server a bench, and sets out its scores beside the paper's. Run again, it goes on where it "
        "was. `llava-interleave eval ablation --help`: the same questions by pooling and number of frames.",
    )
    add_bench_options(parser, concurrency=16)
    parser.add_argument("--pooling", choices=POOLINGS, help="Pooling of every image and frame (the server's own).")
    parser.add_argument("--pool-stride", type=int, choices=STRIDES, help="Stride of the pooling (the server's own).")
    parser.add_argument("--num-frames", type=positive, help="Frames of every video (the server's own).")
    parser.add_argument(
        "--report-limit", type=int, default=200, help="Answers of a data set that report.html shows (%(default)s)."
    )
    return parser


def evaluate(argv: list[str]) -> int:
    """`llava-interleave eval FILE... --out DIR`: 0 if every question is answered, else 1."""
    options = parser()
    arguments = options.parse_args(argv)
    if arguments.pool_stride is not None and arguments.pooling in (None, "none"):
        options.error("--pool-stride needs --pooling to be average, max or bilinear")
    visuals = Visuals(arguments.pooling, arguments.pool_stride, arguments.num_frames)
    records = records_of(arguments)
    outcome, answers = asyncio.run(answer(records, arguments.out, server_of(arguments), visuals, arguments.style))
    found = aggregate.data_sets(records, answers, arguments.style)
    tables = aggregate.tables(found, records, arguments.style)
    printed = markdown.text(tables)
    (arguments.out / "table.md").write_text(printed)
    (arguments.out / "scores.json").write_text(json.dumps(_summary(found, tables), indent=1) + "\n")
    print(printed, end="")
    html.write(arguments.out / "report.html", found, tables, arguments.report_limit)
    return say(outcome)


def _summary(found: Sequence[aggregate.DataSet], tables: Sequence[aggregate.Table]) -> dict[str, Any]:
    categories = [category for one in tables for category in one.categories if category.data_sets]
    return {
        "data_sets": {
            one.name: {
                "score": one.score,
                "metric": one.metric,
                "n": len(one.values),
                "refused": one.refused,
                "unanswered": one.unanswered,
            }
            for one in found
        },
        "categories": {category.row.title: category.score for category in categories},
        "splits": {one.title: aggregate.mean(one.categories) for one in tables},
        "all_categories": aggregate.mean(categories),
    }


def say(outcome: Outcome) -> int:
    """The exit code of a run, its reason on stderr."""
    for failure in outcome.failures[:FAILURES_SHOWN]:
        print(failure, file=sys.stderr)
    if outcome.failures:
        print(f"{len(outcome.failures)} conversations have no answer: run this again to ask them", file=sys.stderr)
    if outcome.interrupted:
        print("interrupted: run this again to go on", file=sys.stderr)
    return int(bool(outcome.failures) or outcome.interrupted)


def main(argv: list[str]) -> int:
    """`llava-interleave eval …` and `llava-interleave eval ablation …`: the exit code."""
    from llava_interleave_serve.benchmarks.evaluation.ablation import cli  # it imports this module  # noqa: PLC0415 - a command of its own

    command: Callable[[list[str]], int] = evaluate
    if argv[:1] == ["ablation"]:
        command, argv = cli.ablate, argv[1:]
    try:
        return command(argv)
    except (BenchError, AnswersError, Unreachable) as error:
        print(f"llava-interleave eval: {error}", file=sys.stderr)
        return 1
