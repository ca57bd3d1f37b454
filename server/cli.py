"""The command `llava-interleave`: its subcommands, and the configuration of `serve` from argv and environment.

Nothing else in the server reads argv; environment variables are set here and by `prepare_environment`.
"""

import argparse
import dataclasses
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from llava_interleave_serve.model_executor.parent_death import end_with_parent
from llava_interleave_serve.server import checkpoint_files, dry_run
from llava_interleave_serve.server.config import DEMO_CHECKPOINT, ServerConfig
from llava_interleave_serve.server.engine import worker
from llava_interleave_serve.server.engine.cards import CARDS
from llava_interleave_serve.server.engine.defaults import (
    LOG_LEVEL_VARIABLE,
    MEMORY_OPTIONS,
    check_driver,
    check_shared_memory,
    set_engine_defaults,
)
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.access import Access
from llava_interleave_serve.server.observability import tracing
from llava_interleave_serve.server.observability.distribution import DISTRIBUTION, version
from llava_interleave_serve.server.prompt import token_budget
from llava_interleave_serve.server.serve_options import API_KEY_VARIABLE, Help, add_server_options

SHARE_OF_SEVERAL_KEYS = 0.8  # of the capacity, for a key that is alone: the next finds some free

# The engine's process imports this module first, as the main one of its parent: before vLLM, which waits for its parent
# and logs before it has configured its logger.
end_with_parent()
if LOG_LEVEL_VARIABLE in os.environ:
    logging.getLogger("vllm").setLevel(os.environ[LOG_LEVEL_VARIABLE].upper())


def _serve_parser(command: str) -> argparse.ArgumentParser:
    """vLLM's engine options and this server's own, for `serve` or `worker`."""
    level = os.environ.setdefault(LOG_LEVEL_VARIABLE, "ERROR")  # read when vLLM is imported
    logging.getLogger("vllm").setLevel(level.upper())  # vLLM logs before it has configured its logger
    from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415 - 7 s of imports

    parser: argparse.ArgumentParser = vllm_compat.FlexibleArgumentParser(
        prog=f"llava-interleave {command}",
        usage="%(prog)s [MODEL] [OPTION ...]   (--help lists the options)",  # all of them would hide an error
        description="Serves a LLaVA-NeXT-Interleave checkpoint over HTTP.",
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action=Help)
    vllm_compat.AsyncEngineArgs.add_cli_args(parser)
    add_server_options(parser)
    return parser


def parse(argv: list[str], command: str = "serve") -> ServerConfig:
    """The configuration of `llava-interleave serve ARGV`. Exits with a message for an unknown or wrong option.

    command: `worker` for the other machines of a model, which take the options of `serve`.

    With --dry-run prints the plan and exits with code 0.
    """
    parser = _serve_parser(command)
    args = parser.parse_args(argv)
    # Parsed once more without any default: what is set then was given, on the command line or in vLLM's --config file.
    without_defaults = argparse.Namespace(**{action.dest: None for action in parser._actions})
    given = {option for option, value in vars(parser.parse_args(argv, without_defaults)).items() if value is not None}
    _refuse_contradictions(parser, args, given)
    if (fault := worker.rank_fault(command, args.nnodes, args.node_rank)) is not None:
        parser.error(fault)
    if args.engine_log_level is not None:
        os.environ[LOG_LEVEL_VARIABLE] = args.engine_log_level.upper()  # for the engine's process
        logging.getLogger("vllm").setLevel(args.engine_log_level.upper())
    config = _server_config(parser, args, given)
    fault = checkpoint_files.first_fault(config.model, given)
    if fault := fault or checkpoint_files.adapter_fault(config.adapters, config.model_name):
        parser.error(fault)
    if args.dry_run:
        _print_plan(parser, args, given, config)
    if args.card is not None:
        parser.error("--card says what --dry-run plans for: give both, or neither")
    try:
        check_driver()
        check_shared_memory(args.tensor_parallel_size * args.pipeline_parallel_size)
        engine_args = _engine_args(args, given, config)
    except ValueError as error:
        parser.error(str(error))
    return dataclasses.replace(config, engine_args=engine_args, sizes_memory=given.isdisjoint(MEMORY_OPTIONS))


def _print_plan(
    parser: argparse.ArgumentParser, args: argparse.Namespace, given: set[str], config: ServerConfig
) -> NoReturn:
    """Prints what fits and exits."""
    from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415

    options = {field.name for field in dataclasses.fields(vllm_compat.AsyncEngineArgs)}
    options |= {"encoder_cache_visuals", "encode_visuals_at_once"}
    values = {name: getattr(args, name) for name in options & given}
    try:
        plan = dry_run.describe(config.model, CARDS.get(args.card), values, is_demo=config.is_demo)
    except ValueError as error:
        parser.error(str(error))
    print(plan)
    parser.exit()


def _refuse_contradictions(parser: argparse.ArgumentParser, args: argparse.Namespace, given: set[str]) -> None:
    if "limit_mm_per_prompt" in given:
        parser.error("--limit-mm-per-prompt: say --max-visuals instead; every image, frame and view counts as one")
    if "checkpoint" in given and "model" in given and args.checkpoint != args.model:
        parser.error(f"MODEL is {args.checkpoint} and --model is {args.model}: give one of them")
    if "allowed_media_domains" in given:
        parser.error("--allowed-media-domains: this server fetches from public hosts, and from --allowed-media-hosts")
    if given.isdisjoint({"checkpoint", "model"}):
        for action in parser._actions:
            values = getattr(args, action.dest, None) if action.nargs in ("+", "*") and action.dest in given else None
            if values and ("/" in str(values[-1]) or Path(str(values[-1])).exists()):
                option = action.option_strings[0]
                parser.error(f"{option} takes all values behind it: is {values[-1]} the MODEL? Write MODEL first")
    if "engine_log_level" in given and "logging_config" in given:
        parser.error("--engine-log-level and --logging-config both say what vLLM logs: give one of them")
    if isinstance(args.served_model_name, list) and len(args.served_model_name) > 1:
        parser.error("--served-model-name: this server has one name for its model")
    if given & {"encoder_cache_visuals", "encode_visuals_at_once"} and "ec_manager_config" in given:
        parser.error(
            "--encoder-cache-visuals and --encode-visuals-at-once are of our own encoder cache: "
            "say them in --ec-manager-config, or leave that out"
        )


def _server_config(parser: argparse.ArgumentParser, args: argparse.Namespace, given: set[str]) -> ServerConfig:
    """The configuration without the engine's arguments."""
    try:
        limits = Limits(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Limits)})
        traces_protocol = tracing.protocol_of_environment(args.otlp_traces_endpoint)
    except ValueError as error:
        parser.error(str(error))
    if args.otlp_traces_endpoint is not None:
        os.environ[tracing.PROTOCOL_VARIABLES[0]] = traces_protocol  # vLLM reads this one alone
    folder = Path(args.allowed_local_media_path).resolve() if args.allowed_local_media_path else None
    if folder is not None and not folder.is_dir():
        parser.error(f"--allowed-local-media-path: {folder} is not a folder")
    try:
        steps = token_budget.load(Path(args.visual_budget)) if args.visual_budget else token_budget.SHIPPED
    except (OSError, ValueError) as error:
        parser.error(f"--visual-budget: {error}")
    api_keys = _api_keys(parser, args)
    if len(set(api_keys)) > 1 and "max_key_share" not in given:
        limits = dataclasses.replace(limits, max_key_share=SHARE_OF_SEVERAL_KEYS)
    names = args.served_model_name
    return ServerConfig(
        model=args.checkpoint or (args.model if "model" in given else str(DEMO_CHECKPOINT)),
        served_model_name=names[0] if isinstance(names, list) and names else names or None,
        host=args.host,
        port=args.port,
        address_file=args.address_file,
        api_keys=api_keys,
        isolates_keys=len(set(api_keys)) > 1 if args.isolate_keys is None else args.isolate_keys,
        metrics_without_key=args.metrics_without_key,
        allowed_origins=tuple(args.allowed_origins),
        media_separator=args.media_separator,
        playground=args.playground,
        prompt_style=args.prompt_style,
        transparency=args.transparency,
        low_detail=args.low_detail,
        tools=args.tools,
        auto_tools=args.auto_tools,
        adapters=_adapters(parser, args, given),
        access=Access(folder, frozenset(args.allowed_media_hosts)),
        limits=limits,
        scale_jpegs=args.scale_jpegs,
        video_reader=args.video_reader,
        visual_budget=steps,
        drain_delay=args.drain_delay,
        drain_timeout=args.drain_timeout,
        traces_endpoint=args.otlp_traces_endpoint,
        traces_protocol=traces_protocol,
    )


def _adapters(
    parser: argparse.ArgumentParser, args: argparse.Namespace, given: set[str]
) -> tuple[tuple[str, str], ...]:
    if (args.enable_lora and not args.lora_modules) or "default_mm_loras" in given:
        parser.error("--enable-lora, --default-mm-loras: name the adapters by --lora-modules NAME=FOLDER instead")
    if args.lora_modules and "enable_lora" in given and not args.enable_lora:
        parser.error("--no-enable-lora: leave it out, or leave out --lora-modules")
    if args.enable_tower_connector_lora:
        parser.error("--enable-tower-connector-lora: here adapters are of the language model alone")
    return tuple(args.lora_modules)


def _api_keys(parser: argparse.ArgumentParser, args: argparse.Namespace) -> tuple[str, ...]:
    """The keys of the options and the environment, without the white space that mounted secrets end with.

    An empty key would open every route to a client that sends none, and a header carries ASCII alone: both are refused.
    """
    sources = [("--api-key", key) for key in args.api_key]
    if API_KEY_VARIABLE in os.environ:
        sources.append((API_KEY_VARIABLE, os.environ[API_KEY_VARIABLE]))
    for source, key in sources:
        if not key.strip():
            parser.error(f"{source} is empty: give a key, or leave it out")
        if not (key.strip().isascii() and key.strip().isprintable()):
            parser.error(f"{source} has characters that an HTTP header cannot carry: use printable ASCII")
    return tuple(key.strip() for _, key in sources)


def _engine_args(args: argparse.Namespace, given: set[str], config: ServerConfig) -> Any:
    """vLLM's AsyncEngineArgs, with this server's defaults where the operator gave nothing."""
    from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415

    args.model = config.model  # vLLM looks for it at once where it may not ask the hub
    engine_args = vllm_compat.AsyncEngineArgs.from_cli_args(args)
    encoder_cache = {"visuals_kept": args.encoder_cache_visuals, "visuals_a_step": args.encode_visuals_at_once}
    set_engine_defaults(
        engine_args,
        given,
        name=config.model_name,
        max_visuals=config.limits.max_visuals,
        is_demo=config.is_demo,
        adapters=len(config.adapters),
        isolates_keys=config.isolates_keys,
        encoder_cache={option: value for option, value in encoder_cache.items() if value is not None},
    )
    return engine_args


def _run_serve(argv: list[str]) -> int:
    from llava_interleave_serve.server.run import serve  # noqa: PLC0415

    return _exit(serve(parse(argv)))


def _run_worker(argv: list[str]) -> int:
    config = parse(argv, "worker")
    return _exit(worker.work(config.engine_args, config.model_name, sizes_memory=config.sizes_memory))


def _exit(code: int) -> NoReturn:
    """Ends the process; not by the interpreter's own exit, in which libraries print pages of reports of leaks."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run_bench(argv: list[str]) -> int:
    from llava_interleave_serve.benchmarks.load import cli  # noqa: PLC0415

    return cli.main(argv)


def _run_eval(argv: list[str]) -> int:
    from llava_interleave_serve.benchmarks.evaluation import cli  # noqa: PLC0415

    return cli.main(argv)


class Command(NamedTuple):
    """A subcommand. `run` imports what it needs, so that a command does not pay for the others."""

    help: str
    run: Callable[[list[str]], int]


COMMANDS = {
    "serve": Command("serve a checkpoint over HTTP (without a MODEL: the bundled demo)", _run_serve),
    "worker": Command("compute a part of a model that `serve` serves from another machine", _run_worker),
    "bench": Command("measure a server of OpenAI's chat API under load", _run_bench),
    "eval": Command("score a server on LLaVA-Interleave Bench or data sets of its format", _run_eval),
}


def main() -> None:
    """`llava-interleave COMMAND ...`; the rest of the line belongs to the command."""
    parser = argparse.ArgumentParser(
        prog="llava-interleave",
        description="Serves and measures LLaVA-NeXT-Interleave models.",
        epilog="`llava-interleave COMMAND --help` lists the options of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{DISTRIBUTION} {version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.help, add_help=False)
    chosen = parser.parse_args(sys.argv[1:2]).command
    sys.exit(COMMANDS[chosen].run(sys.argv[2:]))
