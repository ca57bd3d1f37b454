"""The command `llava-interleave bench`: argv to one configuration."""

import argparse
import asyncio
import sys
from pathlib import Path

from llava_interleave_serve.benchmarks.load import benchmark
from llava_interleave_serve.benchmarks.load.client.server_info import NoServer
from llava_interleave_serve.benchmarks.load.options import OPEN, Options
from llava_interleave_serve.benchmarks.load.progress import Progress
from llava_interleave_serve.benchmarks.load.results.report_data import NotAReport, read
from llava_interleave_serve.benchmarks.load.workload import schema

VERIFIED = 24  # requests that --verify without a number asks alone


def parser() -> argparse.ArgumentParser:
    """The options of `llava-interleave bench`."""
    defaults = Options(url="http://127.0.0.1:8000", workload="mixed")
    one = argparse.ArgumentParser(
        prog="llava-interleave bench",
        description="Measures a server of OpenAI's chat API under load. "
        "`bench compare A.json B.json --html OUT` puts two measurements side by side.",
    )
    one.add_argument(
        "workload",
        nargs="?",
        default=defaults.workload,
        metavar="WORKLOAD",
        help=f"TOML file, or one of {', '.join(schema.preset_names())} (%(default)s)",
    )
    _add_server(one, defaults)
    _add_arrivals(one, defaults)
    _add_search(one, defaults)
    group = one.add_argument_group("output")
    group.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    group.add_argument("--html", type=Path, metavar="FILE", help="write a report to look at")
    group.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return one


def _add_server(one: argparse.ArgumentParser, defaults: Options) -> None:
    group = one.add_argument_group("server")
    group.add_argument("--url", default=defaults.url, help="server, with or without /v1 (%(default)s)")
    group.add_argument("--model", help="model to ask for (the first that the server has)")
    group.add_argument("--api-key", metavar="KEY", help="key that the server wants")
    group.add_argument(
        "--dialect",
        choices=("auto", "ours", "openai"),
        default=defaults.dialect,
        help="openai: only text and images; auto asks the server (%(default)s)",
    )
    group.add_argument(
        "--skip-unsupported", action="store_true", help="leave out requests that the dialect cannot express as meant"
    )
    group.add_argument(
        "--tokens-per-visual", type=int, metavar="N", help="to estimate visual tokens, if the server is silent"
    )
    group.add_argument("--timeout", type=float, default=defaults.timeout, help="seconds for one request (%(default)s)")


def _add_arrivals(one: argparse.ArgumentParser, defaults: Options) -> None:
    group = one.add_argument_group("arrivals")
    group.add_argument("--arrivals", choices=(*OPEN, "closed"), default=defaults.arrivals, help="process (%(default)s)")
    group.add_argument("--rate", type=float, default=defaults.rate, help="arrivals a second (%(default)s)")
    group.add_argument("--rate-to", type=float, metavar="RATE", help="where a ramp ends after --duration")
    group.add_argument(
        "--cv", type=float, default=defaults.cv, help="of gamma: 1 is Poisson, more is bursts (%(default)s)"
    )
    group.add_argument(
        "--concurrency", type=int, default=defaults.concurrency, help="of closed: requests at a time (%(default)s)"
    )
    group.add_argument("--trace", type=Path, metavar="FILE", help='JSON lines: {"time": seconds, "class": name}')
    group.add_argument(
        "--duration", type=float, metavar="SECONDS", help="how long requests arrive (30, if no --requests)"
    )
    group.add_argument("--requests", type=int, metavar="N", help="most arrivals")
    group.add_argument(
        "--warmup", type=float, default=defaults.warmup, metavar="SECONDS", help="not counted (%(default)s)"
    )
    group.add_argument(
        "--warmup-requests", type=int, default=defaults.warmup_requests, metavar="N", help="not counted (%(default)s)"
    )
    group.add_argument(
        "--drain",
        type=float,
        default=defaults.drain,
        metavar="SECONDS",
        help="for answers still to come after the last arrival (%(default)s)",
    )
    group.add_argument("--seed", type=int, help="of media, text and arrivals (the workload's)")


def _add_search(one: argparse.ArgumentParser, defaults: Options) -> None:
    group = one.add_argument_group("checks and search")
    group.add_argument(
        "--verify",
        type=int,
        nargs="?",
        const=VERIFIED,
        default=0,
        metavar="N",
        help=f"ask N of the requests ({VERIFIED}) alone before, and compare the answers",
    )
    group.add_argument(
        "--search", action="store_true", help="the highest rate within every class's target, from --rate on"
    )
    group.add_argument(
        "--precision", type=float, default=defaults.precision, help="width of its bracket, as a share (%(default)s)"
    )
    group.add_argument(
        "--most-points", type=int, default=defaults.most_points, metavar="N", help="runs of a search (%(default)s)"
    )


def parse(argv: list[str]) -> tuple[Options, Progress]:
    """The configuration of `llava-interleave bench ARGV`. Exits with a message for an unknown or wrong option."""
    one = parser()
    given = vars(one.parse_args(argv))
    progress = Progress(quiet=given.pop("quiet"))
    options = Options(**given)
    if wrong := _wrong(options, argv):
        one.error(wrong)
    if options.duration is options.requests is None and options.arrivals != "trace":
        options = Options(**given | {"duration": 30.0})
    return options, progress


def _wrong(options: Options, argv: list[str]) -> str:
    """What is wrong with the options, or nothing."""
    given = {word.partition("=")[0] for word in argv}
    owners: dict[str, tuple[str, ...]] = {
        "--rate": ("poisson", "gamma", "constant", "ramp"),
        "--rate-to": ("ramp",),
        "--cv": ("gamma",),
        "--concurrency": ("closed",),
        "--trace": ("trace",),
    }
    for option, processes in owners.items():
        if option in given and options.arrivals not in processes:
            return f"{option} is for --arrivals {' or '.join(processes)}, not {options.arrivals}"
    positive = {
        "--rate": options.rate,
        "--rate-to": options.rate_to,
        "--cv": options.cv,
        "--concurrency": options.concurrency,
        "--duration": options.duration,
        "--requests": options.requests,
        "--timeout": options.timeout,
        "--tokens-per-visual": options.tokens_per_visual,
        "--precision": options.precision,
        "--most-points": options.most_points,
    }
    for option, value in positive.items():
        if value is not None and not 0 < value < float("inf"):
            return f"{option} must be above 0, not {value:g}"
    for option, number in {"--warmup": options.warmup, "--drain": options.drain, "--verify": options.verify}.items():
        if number < 0:
            return f"{option} cannot be negative"
    rules = {
        "a ramp needs --rate-to and --duration": options.arrivals == "ramp"
        and not (options.rate_to and options.duration),
        "--arrivals trace needs --trace": options.arrivals == "trace" and options.trace is None,
        "--arrivals closed needs --requests": options.arrivals == "closed" and options.requests is None,
        "a search needs --arrivals poisson, gamma or constant": options.search
        and options.arrivals not in ("poisson", "gamma", "constant"),
        "--warmup ends after --duration": options.duration is not None and options.warmup >= options.duration,
    }
    return next((rule for rule, broken in rules.items() if broken), "")


def compare(argv: list[str]) -> int:
    """`llava-interleave bench compare A.json B.json --html OUT`."""
    one = argparse.ArgumentParser(prog="llava-interleave bench compare", description="Two measurements side by side.")
    one.add_argument("first", type=Path, metavar="A.json")
    one.add_argument("second", type=Path, metavar="B.json")
    one.add_argument("--html", type=Path, metavar="FILE", help="write a report to look at")
    one.add_argument("--names", nargs=2, metavar=("A", "B"), help="what to call them (the names of the files)")
    args = one.parse_args(argv)
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
    """`llava-interleave bench ARGV`: the exit code; 1 if nothing could be measured or an answer was not what it was
    alone.
    """
    if argv[:1] == ["compare"]:
        return compare(argv[1:])
    options, progress = parse(argv)
    try:
        report = asyncio.run(benchmark.bench(options, progress))
        benchmark.write(report, options)
    except (NoServer, ValueError, OSError) as error:
        progress.end()
        return _failed(error)
    verification = report.verification
    return 1 if verification and verification.same < verification.compared else 0


def _failed(error: Exception) -> int:
    print(f"llava-interleave bench: {error}", file=sys.stderr)
    return 1
