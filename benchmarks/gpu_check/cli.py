"""Checks this machine's GPU and measures it: what `make gpu-check` runs, at most 30 minutes.

`python -m llava_interleave_serve.benchmarks.gpu_check.cli [--out FOLDER] [--dry-run]`

Runs one command after the other, each in a process of its own, and writes a dated table and a JSON with what each has
found. The exit code is 1 if a result was wrong, and never because one was slow: measurements that fail or find no time
are named in the table. With --dry-run, for a machine without a GPU, runs the commands that need none. Of the others it
checks the options, and those of their servers, by the parsers that will read them, and reads a recorded result.
"""

import argparse
import datetime
import json
import signal
import sys
from pathlib import Path

from llava_interleave_serve.benchmarks.gpu_check import runner, steps
from llava_interleave_serve.benchmarks.gpu_check.results import table

DEMO = Path(__file__).resolve().parents[2] / "demo" / "checkpoint"


def device() -> str | None:
    """The name of the first GPU; None if torch finds none."""
    import torch  # noqa: PLC0415 - seconds of imports

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path("gpu-check"), help="folder of table and JSON (%(default)s)")
    options.add_argument("--dry-run", action="store_true", help="run what needs no GPU, check the rest")
    options.add_argument(
        "--checkpoint", type=Path, default=Path("build/0.5b"), help="of random weights, made if absent (%(default)s)"
    )
    return options


def main() -> None:
    arguments = parser().parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that step and server are ended too
    name = None if arguments.dry_run else device()
    if name is None and not arguments.dry_run:
        sys.exit("gpu_check: no GPU is found here; --dry-run runs what needs none")
    if name is None:
        print("no GPU is used: of what needs one, the options are checked", flush=True)
    checkpoint = arguments.checkpoint.resolve()
    if name is None and not checkpoint.exists():
        checkpoint = DEMO  # whose name is enough where only options are checked
    now = datetime.datetime.now(datetime.UTC)
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    results = runner.check(steps.all_steps(checkpoint), out, has_gpu=name is not None)
    title = f"GPU check, {now:%Y-%m-%d}, {name or 'without a GPU'}"
    stem = out / f"{now:%Y-%m-%d-%H%M}"
    stem.with_suffix(".md").write_text(table(results, title))
    stem.with_suffix(".json").write_text(json.dumps({"title": title, "steps": [vars(each) for each in results]}))
    print(table(results, title))
    sys.exit(1 if any(each.outcome == "wrong" for each in results) else 0)


if __name__ == "__main__":
    main()
