"""Options that `llava-interleave eval` and `llava-interleave eval ablation` share, and what they stand for."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from llava_interleave_serve.benchmarks.evaluation.dataset import loading
from llava_interleave_serve.benchmarks.evaluation.dataset.records import Record
from llava_interleave_serve.benchmarks.evaluation.scoring import metrics
from llava_interleave_serve.benchmarks.openai_api.content_parts import PoolingMode

POOLINGS = get_args(PoolingMode)
STRIDES = (2, 3, 4)


@dataclass(frozen=True, slots=True)
class Server:
    """The server under evaluation.

    Attributes:
        base_url: Its API's URL, which ends in a slash.
        api_key: The key that it wants, None for none.
        model: The model's name, None for the first that the server lists.
        timeout: Seconds without a byte after which a request has failed.
        concurrency: How many conversations are under way at once.

    """

    base_url: str
    api_key: str | None
    model: str | None
    timeout: float
    concurrency: int


def add_shared_options(parser: argparse.ArgumentParser, concurrency: int) -> None:
    """Adds the options for the dataset, the server and the results. `concurrency` is the default of its option."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="Dataset files: .json or .parquet.")
    parser.add_argument(
        "--media-folder", type=Path, metavar="DIR", help="Where a JSON file's images and videos lie (beside it)."
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="Folder for answers and results.")
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1", help="The server's API (%(default)s).")
    parser.add_argument("--api-key", help="Key that the server wants.")
    parser.add_argument("--model", help="Model to ask (the first that the server lists).")
    parser.add_argument(
        "--concurrency", type=positive_int, default=concurrency, help="Conversations at once (%(default)s)."
    )
    parser.add_argument("--timeout", type=float, default=600.0, help="Seconds without a byte (%(default)s).")
    parser.add_argument("--limit", type=positive_int, help="Ask only so many records of each dataset.")
    parser.add_argument(
        "--style", choices=metrics.STYLES, default="reference", help="Whose metrics and answer length (%(default)s)."
    )


def positive_int(text: str) -> int:
    """Parses an option's value that must be 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def server_from(arguments: argparse.Namespace) -> Server:
    """Returns the server that the options name."""
    base_url = f"{arguments.base_url.rstrip('/')}/"
    return Server(base_url, arguments.api_key, arguments.model, arguments.timeout, arguments.concurrency)


def records_from(arguments: argparse.Namespace) -> list[Record]:
    """Returns the records that the options choose. Raises DatasetError."""
    records = loading.load_records(arguments.files, arguments.media_folder)
    return records if arguments.limit is None else loading.limit_per_dataset(records, arguments.limit)
