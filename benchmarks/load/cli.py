"""The command `llava-interleave bench`: argv to one configuration, and that to an exit code."""

import argparse
import asyncio
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from llava_interleave_serve.benchmarks.load import benchmark
from llava_interleave_serve.benchmarks.load.client.server_info import NoServer
from llava_interleave_serve.benchmarks.load.options import PROCESSES, SESSION_IDS, STEADY_PROCESSES, Options
from llava_interleave_serve.benchmarks.load.progress import Progress
from llava_interleave_serve.benchmarks.load.results.report_data import NotAReport, read
from llava_interleave_serve.benchmarks.load.workload import schema

DEFAULTS = Options(url="http://127.0.0.1:8000", workload="mixed")
DEFAULT_DURATION = 30.0  # seconds of a run whose end is given in no other way
DEFAULT_VERIFIED = 24  # requests that --verify without a number sends alone

Number = TypeVar("Number", int, float)


def _ranged(number: Callable[[str], Number], allowed: Callable[[Number], bool], fault: str) -> Callable[[str], Number]:
    """An argparse type: a number for which `allowed` is true. `fault` says what is wrong with any other."""

    def convert(text: str) -> Number:
        try:
            value = number(text)
        except ValueError:
            kind = "whole number" if number is int else "number"
            raise argparse.ArgumentTypeError(f"expected a {kind}, not {text!r}") from None
        if not allowed(value):
            raise argparse.ArgumentTypeError(f"{fault}, not {text}")
        return value

    return convert


_positive = _ranged(float, lambda value: 0 < value < math.inf, "must be above 0")
_not_negative = _ranged(float, lambda value: 0 <= value < math.inf, "cannot be negative")
_positive_whole = _ranged(int, lambda value: value > 0, "must be above 0")
_not_negative_whole = _ranged(int, lambda value: value >= 0, "cannot be negative")


def parser() -> argparse.ArgumentParser:
    """The options of `llava-interleave bench`. What is not given is absent from the namespace."""
    bench = argparse.ArgumentParser(
        prog="llava-interleave bench",
        description="Measures a server of OpenAI's chat API under load. "
        "`bench compare A.json B.json --html OUT` puts two measurements side by side.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    presets = ", ".join(schema.preset_names())
    bench.add_argument(
        "workload", nargs="?", metavar="WORKLOAD", help=f"TOML file, or one of {presets} ({DEFAULTS.workload})"
    )
    _add_server(bench)
    _add_arrivals(bench)
    _add_search(bench)
    group = bench.add_argument_group("output")
    group.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    group.add_argument("--html", type=Path, metavar="FILE", help="write a report to look at")
    group.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return bench


def _add_server(bench: argparse.ArgumentParser) -> None:
    group = bench.add_argument_group("server")
    group.add_argument("--url", help=f"server, with or without /v1 ({DEFAULTS.url})")
    group.add_argument("--model", help="model to ask for (the first that the server has)")
    group.add_argument("--api-key", metavar="KEY", help="key that the server wants")
    group.add_argument(
        "--dialect",
        choices=("auto", "ours", "openai"),
        help=f"openai: only text and images; auto asks the server ({DEFAULTS.dialect})",
    )
    group.add_argument(
        "--session-id",
        choices=SESSION_IDS,
        help="X-Session-ID, by which routers choose a replica: one for the requests that show the same media, one for "
        f"each request, or none ({DEFAULTS.session_id})",
    )
    group.add_argument(
        "--skip-unsupported", action="store_true", help="leave out requests that the dialect cannot express as meant"
    )
    group.add_argument(
        "--tokens-per-visual",
        type=_positive_whole,
        metavar="N",
        help="to estimate visual tokens, if the server does not count them",
    )
    group.add_argument("--timeout", type=_positive, metavar="SECONDS", help=f"for one request ({DEFAULTS.timeout:g})")


def _add_arrivals(bench: argparse.ArgumentParser) -> None:
    group = bench.add_argument_group("arrivals")
    group.add_argument("--arrivals", choices=PROCESSES, help=f"process ({DEFAULTS.arrivals})")
    group.add_argument("--rate", type=_positive, help=f"arrivals a second ({DEFAULTS.rate:g})")
    group.add_argument("--rate-to", type=_positive, metavar="RATE", help="where a ramp ends after --duration")
    group.add_argument("--cv", type=_positive, help=f"of gamma: 1 is Poisson, more is bursts ({DEFAULTS.cv:g})")
    group.add_argument(
        "--concurrency",
        type=_positive_whole,
        metavar="N",
        help=f"of closed: conversations at a time ({DEFAULTS.concurrency})",
    )
    group.add_argument("--trace", type=Path, metavar="FILE", help='JSON lines: {"time": seconds, "class": name}')
    group.add_argument(
        "--duration",
        type=_positive,
        metavar="SECONDS",
        help=f"how long requests arrive ({DEFAULT_DURATION:g}, if no --requests)",
    )
    group.add_argument("--requests", type=_positive_whole, metavar="N", help="most arrivals")
    group.add_argument(
        "--warmup", type=_not_negative, metavar="SECONDS", help=f"whose requests are not counted ({DEFAULTS.warmup:g})"
    )
    group.add_argument(
        "--warmup-requests",
        type=_not_negative_whole,
        metavar="N",
        help=f"first requests that are not counted ({DEFAULTS.warmup_requests})",
    )
    group.add_argument(
        "--drain",
        type=_not_negative,
        metavar="SECONDS",
        help=f"for answers still to come after the last arrival ({DEFAULTS.drain:g})",
    )
    group.add_argument("--seed", type=int, help="of media, text and arrivals (the workload's)")


def _add_search(bench: argparse.ArgumentParser) -> None:
    group = bench.add_argument_group("checks and search")
    group.add_argument(
        "--verify",
        type=_not_negative_whole,
        nargs="?",
        const=DEFAULT_VERIFIED,
        metavar="N",
        help=f"ask N of the requests ({DEFAULT_VERIFIED}) alone before, and compare the answers",
    )
    group.add_argument(
        "--search", action="store_true", help="the highest rate within every class's target, from --rate on"
    )
    group.add_argument(
        "--precision", type=_positive, help=f"width of the search's bracket, as a share ({DEFAULTS.precision:g})"
    )
    group.add_argument(
        "--most-points", type=_positive_whole, metavar="N", help=f"runs of a search ({DEFAULTS.most_points})"
    )


def parse(argv: list[str]) -> tuple[Options, Progress]:
    """The configuration of `llava-interleave bench ARGV`. Exits with a message for an unknown or wrong option."""
    bench = parser()
    values = vars(bench.parse_args(argv))
    progress = Progress(quiet=values.pop("quiet", False))
    given = frozenset(values)
    values = {"url": DEFAULTS.url, "workload": DEFAULTS.workload} | values
    if not given & {"duration", "requests"} and values.get("arrivals", DEFAULTS.arrivals) in STEADY_PROCESSES:
        values["duration"] = DEFAULT_DURATION
    try:
        return Options(**values, given=given), progress
    except ValueError as error:
        bench.error(str(error))


def compare(argv: list[str]) -> int:
    """`llava-interleave bench compare A.json B.json --html OUT`: the exit code."""
    command = argparse.ArgumentParser(
        prog="llava-interleave bench compare", description="Two measurements side by side.", allow_abbrev=False
    )
    command.add_argument("first", type=Path, metavar="A.json")
    command.add_argument("second", type=Path, metavar="B.json")
    command.add_argument("--html", type=Path, metavar="FILE", help="write a report to look at")
    command.add_argument("--names", nargs=2, metavar=("A", "B"), help="what to call them (the names of the files)")
    args = command.parse_args(argv)
    from llava_interleave_serve.benchmarks.load.reports import comparison  # noqa: PLC0415 - brings matplotlib

    try:
        first, second = (read(file) for file in (args.first, args.second))
    except NotAReport as error:
        return _failed(error)
    names = args.names or [args.first.stem, args.second.stem]
    pair = comparison.Pair(first, second, (names[0], names[1]))
    print(comparison.render_text(pair))
    if args.html is not None:
        args.html.write_text(comparison.render_html(pair))
    return 0


def main(argv: list[str]) -> int:
    """Runs `llava-interleave bench ARGV`. Returns the exit code: 1 if nothing could be measured, or if an answer under
    load was not what it was alone.
    """
    if argv[:1] == ["compare"]:
        return compare(argv[1:])
    options, progress = parse(argv)
    try:
        report = asyncio.run(benchmark.measure(options, progress))
        benchmark.write(report, options)
    except (NoServer, ValueError, OSError) as error:
        progress.clear()
        return _failed(error)
    verification = report.verification
    return 1 if verification and verification.same < verification.compared else 0


def _failed(error: Exception) -> int:
    print(f"llava-interleave bench: {error}", file=sys.stderr)
    return 1
