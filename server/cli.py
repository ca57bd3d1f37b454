"""The command `llava-interleave`: argv and environment to one configuration; nothing else reads either."""

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

from llava_interleave_serve.server.config import DEMO_CHECKPOINT, ServerConfig
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.fetch import Access
from llava_interleave_serve.server.prompt import token_budget

ENCODER_CACHE = "llava_interleave_serve.model_executor.encoder_cache.VisualCache"
API_KEY_VARIABLE = "LLAVA_INTERLEAVE_API_KEY"


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Our own options; those of the engine are vLLM's."""
    defaults = ServerConfig()
    group = parser.add_argument_group("server")
    group.add_argument("checkpoint", metavar="MODEL", nargs="?", help="Folder or hub name (the bundled demo).")
    group.add_argument("--host", default=defaults.host, help="Address to listen on (%(default)s).")
    group.add_argument("--port", type=int, default=defaults.port, help="Port to listen on (%(default)s).")
    group.add_argument(
        "--api-key",
        action="append",
        default=[],
        metavar="KEY",
        help=f"Key that clients must send; may be given several times. Also from ${API_KEY_VARIABLE}.",
    )
    group.add_argument(
        "--media-separator", default=defaults.media_separator, help="Text after each visual (a newline)."
    )
    group.add_argument(
        "--allowed-media-hosts",
        nargs="+",
        default=[],
        metavar="HOST",
        help="Hosts, addresses or networks that media may come from although they are not public.",
    )
    group.add_argument(
        "--scale-jpegs",
        action="store_true",
        help="Decode JPEGs at a half of their size or less where that leaves enough for the view: twice as fast at 12 "
        "megapixels, but other pixels.",
    )
    group.add_argument(
        "--drain-timeout",
        type=float,
        default=defaults.drain_timeout,
        help="Seconds that running requests have to finish after SIGTERM (%(default)s).",
    )
    group.add_argument(
        "--visual-budget",
        metavar="PATH",
        help="JSON file saying what max_visual_tokens picks, as `llava-interleave eval ablation` writes it (our own).",
    )
    group.add_argument(
        "--encoder-cache-visuals",
        type=int,
        metavar="N",
        help="Unpooled visuals whose encoder outputs are kept for later requests; at least as many as a step has "
        "tokens (64).",
    )
    group.add_argument(
        "--encode-visuals-at-once",
        type=int,
        metavar="N",
        help="Most visuals encoded in one step, while streams wait; at most what --max-num-batched-tokens holds (on a "
        "CPU 1,024 patches).",
    )
    limits = parser.add_argument_group("limits")
    for field in dataclasses.fields(Limits):
        limits.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            help=f"{field.metadata['help']} (%(default)s)",
        )


def parse(argv: list[str]) -> ServerConfig:
    """The configuration of `llava-interleave serve ARGV`. Exits with a message for an unknown or wrong option."""
    from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415 - 7 s of imports

    parser = vllm_compat.FlexibleArgumentParser(
        prog="llava-interleave serve", description="Serves a LLaVA-NeXT-Interleave checkpoint over HTTP."
    )
    vllm_compat.AsyncEngineArgs.add_cli_args(parser)
    add_server_options(parser)
    args = parser.parse_args(argv)
    unset = argparse.Namespace(**{action.dest: None for action in parser._actions})
    given = {option for option, value in vars(parser.parse_args(argv, unset)).items() if value is not None}
    if "limit_mm_per_prompt" in given:
        parser.error("--limit-mm-per-prompt: say --max-visuals instead; every image, frame and view counts as one")
    try:
        limits = Limits(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Limits)})
    except ValueError as error:
        parser.error(str(error))
    model = args.checkpoint or (args.model if "model" in given else str(DEMO_CHECKPOINT))
    folder = Path(args.allowed_local_media_path).resolve() if args.allowed_local_media_path else None
    if folder is not None and not folder.is_dir():
        parser.error(f"--allowed-local-media-path: {folder} is not a folder")
    try:
        steps = token_budget.load(Path(args.visual_budget)) if args.visual_budget else token_budget.SHIPPED
    except (OSError, ValueError) as error:
        parser.error(f"--visual-budget: {error}")
    names = args.served_model_name
    keys = (*args.api_key, *filter(None, [os.environ.get(API_KEY_VARIABLE)]))
    config = ServerConfig(
        model=model,
        served_model_name=names[0] if isinstance(names, list) and names else names or None,
        host=args.host,
        port=args.port,
        api_keys=keys,
        media_separator=args.media_separator,
        access=Access(folder, frozenset(host.lower().rstrip(".") for host in args.allowed_media_hosts)),
        limits=limits,
        scale_jpegs=args.scale_jpegs,
        visual_budget=steps,
        drain_timeout=args.drain_timeout,
        traces_endpoint=args.otlp_traces_endpoint,
    )
    args.model = model  # vLLM looks for it at once where it may not ask the hub
    engine_args = vllm_compat.AsyncEngineArgs.from_cli_args(args)
    told = {"visuals_kept": args.encoder_cache_visuals, "visuals_a_step": args.encode_visuals_at_once}
    encoder_cache = {key: value for key, value in told.items() if value is not None}
    if any(value < 1 for value in encoder_cache.values()):
        parser.error("--encoder-cache-visuals and --encode-visuals-at-once are numbers from 1")
    if encoder_cache and "ec_manager_config" in given:
        parser.error(
            "--encoder-cache-visuals and --encode-visuals-at-once are of our own encoder cache: "
            "say them in --ec-manager-config, or leave that out"
        )
    return dataclasses.replace(config, engine_args=_with_defaults(engine_args, config, given, encoder_cache))


def _with_defaults(args: Any, config: ServerConfig, given: set[str], encoder_cache: dict[str, int]) -> Any:
    """vLLM's arguments with our defaults where the operator gave none."""
    from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415
    from llava_interleave_serve.server.engine.vllm_engine import ARCHITECTURE  # noqa: PLC0415

    args.served_model_name = [config.model_name]
    overrides = args.hf_overrides if isinstance(args.hf_overrides, dict) else {}
    args.hf_overrides = {"architectures": [ARCHITECTURE], **overrides}
    # One item a visual, each as large as the next: there is nothing to profile, and plain vLLM's videos never come.
    args.limit_mm_per_prompt = {"image": config.limits.max_visuals, "video": 0}
    if "ec_manager_config" not in given:
        args.ec_manager_config = vllm_compat.EncoderCacheManagerConfig(
            encoder_cache_manager_cls=ENCODER_CACHE, manager_config=encoder_cache
        )
    if "skip_mm_profiling" not in given:
        args.skip_mm_profiling = True
    if "load_format" not in given:
        args.load_format = "safetensors"  # never a pickle, whatever else the checkpoint holds
    if "structured_outputs_config" not in given:
        # Where any white space is allowed between its tokens, a model may write nothing else until its budget ends.
        args.structured_outputs_config = vllm_compat.compact_json()
    on_cpu = vllm_compat.current_platform.is_cpu()
    single = args.tensor_parallel_size == args.pipeline_parallel_size == args.data_parallel_size == 1
    if single and "distributed_executor_backend" not in given:
        args.distributed_executor_backend = "uni"  # saves a process, and with it a start
    if on_cpu and "enable_mm_processor_stats" not in given:
        args.enable_mm_processor_stats = True  # on a GPU the tower's time costs waiting for the device; here nothing
    if on_cpu and "enforce_eager" not in given:
        args.enforce_eager = True  # compilation costs minutes on a CPU
    if on_cpu and "dtype" not in given and (config.model == str(DEMO_CHECKPOINT) or not vllm_compat.has_bfloat16()):
        args.dtype = "float32"
    return args


def main() -> None:
    """`llava-interleave COMMAND ...`; each imports what it alone needs."""
    match sys.argv[1:]:
        case ["serve", *rest]:
            from llava_interleave_serve.server.run import serve  # noqa: PLC0415

            sys.exit(serve(parse(rest)))
        case ["bench", *rest]:
            from llava_interleave_serve.benchmarks.load import cli as bench  # noqa: PLC0415

            sys.exit(bench.main(rest))
        case ["eval", *rest]:
            from llava_interleave_serve.benchmarks.evaluation import cli  # noqa: PLC0415

            sys.exit(cli.main(rest))
        case _:
            sys.exit(
                "usage: llava-interleave serve [MODEL] [options]\n"
                "       llava-interleave bench [WORKLOAD] [options]\n"
                "       llava-interleave eval FILE... --out DIR [options]\n"
                "--help lists the options"
            )
