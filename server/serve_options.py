"""The options of `llava-interleave serve` that are not vLLM's, and the values that they take."""

import argparse
import dataclasses
import ipaddress
import math
import os
import re
from pathlib import Path
from typing import Any

from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.engine.base import PROMPT_STYLES, TRANSPARENCIES
from llava_interleave_serve.server.engine.cards import CARDS
from llava_interleave_serve.server.engine.defaults import LOG_LEVEL_VARIABLE
from llava_interleave_serve.server.health_check import ADDRESS_FILE_VARIABLE
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.video.video_readers import installed_reader

API_KEY_VARIABLE = "LLAVA_INTERLEAVE_API_KEY"
LOG_LEVELS = ("debug", "info", "warning", "error")
HOST_NAME = re.compile(
    r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*(?!\d+$|0x[0-9a-f]*$)"
    r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
)
ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@\s*]+)")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Help(argparse.Action):
    """Prints this server's own options and ends. `--help=NAME` is left to vLLM's parser, which knows its groups."""

    def __init__(self, option_strings: list[str], dest: str) -> None:
        super().__init__(
            option_strings,
            dest,
            default=argparse.SUPPRESS,
            nargs=0,
            help="Show this server's own options; --help=all vLLM's too, --help=NAME a group or the options named so.",
        )

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        if getattr(parser, "_search_keyword", None) is not None:  # where vLLM's parser keeps the NAME
            parser.print_help()
            parser.exit()
        own = argparse.ArgumentParser(
            prog=parser.prog,
            usage="%(prog)s [MODEL] [OPTION ...]",
            description=parser.description,
            epilog="vLLM's engine options are taken too. --help=all lists them all, --help=NAME those of a group "
            "(--help=CacheConfig) or those with NAME in their names (--help=max-model-len).",
            add_help=False,
        )
        own.add_argument("-h", "--help", action=Help)
        add_server_options(own)
        own.print_help()
        parser.exit()


def positive(text: str) -> int:
    """Parses a whole number from 1, as an argparse type. Raises ArgumentTypeError, and ValueError for no number."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1, not {number}")
    return number


def seconds(text: str) -> float:
    """Parses a duration from 0, as an argparse type. Raises ArgumentTypeError, and ValueError for no number."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 0, not {text}")
    return number


def port_number(text: str) -> int:
    """Parses a TCP port, as an argparse type. Raises ArgumentTypeError, and ValueError for no number."""
    number = int(text)
    if not 0 < number < 1 << 16:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to 65535, not {number}")
    return number


def media_hosts(text: str) -> list[str]:
    """Parses host names, addresses and networks, as an argparse type. Raises ArgumentTypeError for what is none."""
    return [_media_host(entry.strip()) for entry in text.split(",")]


def _media_host(entry: str) -> str:
    host = entry.lower().rstrip(".")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        network = ipaddress.ip_network(bare, strict=False)
    except ValueError:
        if HOST_NAME.fullmatch(host):
            return host
    else:
        if "/" not in bare or ipaddress.ip_address(bare.partition("/")[0]) == network.network_address:
            return bare
        raise argparse.ArgumentTypeError(f"{entry!r} is an address inside a network: say {network} for all of it")
    raise argparse.ArgumentTypeError(
        f"{entry!r} is no host name, address or network: say it without scheme, port, path and wildcards, in ASCII"
    )


def origins(text: str) -> list[str]:
    """Parses origins of web pages, as browsers write them. Raises ArgumentTypeError for what no browser sends."""
    return [_origin(entry.strip()) for entry in text.split(",")]


def _origin(entry: str) -> str:
    origin = entry.lower().removesuffix("/")
    match = ORIGIN.fullmatch(origin)
    if entry != "*" and (match is None or not origin.isascii()):
        raise argparse.ArgumentTypeError(f"{entry!r} is no origin: say https://HOST or http://HOST:PORT, or * for all")
    return origin.removesuffix(DEFAULT_PORTS.get(match[1], "\0")) if match else entry


def writable_file(text: str) -> Path | None:
    """Parses the path of a file to write, as an argparse type; an empty one is None. Raises ArgumentTypeError."""
    if text and not os.access(Path(text).parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"no file can be written into {Path(text).parent}")
    return Path(text) if text else None


def lora_module(text: str) -> tuple[str, str]:
    """Parses the name and the folder of a LoRA adapter, as an argparse type. Raises ArgumentTypeError."""
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FOLDER")
    return name, folder


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Adds this server's own options; those of the engine are vLLM's."""
    defaults = ServerConfig()
    group = parser.add_argument_group("server")
    group.add_argument("checkpoint", metavar="MODEL", nargs="?", help="Folder or hub name (the bundled demo).")
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="Print what of MODEL fits into the memory of this machine, or of --card, and serve nothing.",
    )
    group.add_argument(
        "--card",
        choices=tuple(CARDS),
        type=str.lower,
        help="With --dry-run: the GPU that the plan is for (this machine's device).",
    )
    group.add_argument("--host", default=defaults.host, help="Address to listen on (%(default)s).")
    group.add_argument("--port", type=port_number, default=defaults.port, help="Port to listen on (%(default)s).")
    group.add_argument(
        "--address-file",
        type=writable_file,
        default=os.environ.get(ADDRESS_FILE_VARIABLE),
        metavar="PATH",
        help=f"File into which the server writes its URL (${ADDRESS_FILE_VARIABLE}, else none).",
    )
    group.add_argument(
        "--api-key",
        action="append",
        default=[],
        metavar="KEY",
        help=f"Key that clients must send; may be given several times. Also from ${API_KEY_VARIABLE}.",
    )
    group.add_argument(
        "--metrics-without-key",
        action="store_true",
        help="Let whoever reaches the port read /metrics: routers such as llm-d's send no key.",
    )
    group.add_argument(
        "--isolate-keys",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="Share no cached prompts and visuals between requests of different keys (on with several keys).",
    )
    group.add_argument(
        "--lora-modules",
        type=lora_module,
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="LoRA adapter of the language model, asked for by its name; may be given several times.",
    )
    group.add_argument(
        "--low-detail",
        choices=("pool", "ignore"),
        default=defaults.low_detail,
        help="What an image of detail 'low' is: pooled by 2, or as any other (%(default)s).",
    )
    group.add_argument(
        "--media-separator",
        default=defaults.media_separator,
        help="Text after each visual in prompts of the style 'chat' (a newline).",
    )
    group.add_argument(
        "--prompt-style",
        choices=PROMPT_STYLES,
        help="Style of a prompt whose request does not say: this server's own, or that of one of the authors' programs "
        "(bench for the authors' own checkpoints, else chat).",
    )
    group.add_argument(
        "--transparency",
        choices=TRANSPARENCIES,
        help="What is seen where a picture is transparent: white, or the colours beneath, by dropping its alpha (drop "
        "for the authors' own checkpoints, as their programs do, else white).",
    )
    group.add_argument(
        "--tools",
        action=argparse.BooleanOptionalAction,
        default=defaults.tools,
        help="Take tools that the model may or must call (on).",
    )
    group.add_argument(
        "--auto-tools",
        choices=("write", "omit"),
        help="Tools that the model may call and need not (tool_choice auto): write their definitions to the prompt, or "
        "leave them out (write; for the demo, omit).",
    )
    group.add_argument(
        "--allowed-media-hosts",
        type=media_hosts,
        action="extend",
        default=[],
        metavar="HOST,...",
        help="Hosts, addresses or networks that media may come from although they are not public, with commas between "
        "them; may be given several times.",
    )
    group.add_argument(
        "--allowed-origins",
        type=origins,
        action="extend",
        default=[],
        metavar="ORIGIN,...",
        help="Origins (https://example.org) whose pages may send requests and read the answers, with commas between "
        "them, or * for all; may be given several times (none).",
    )
    group.add_argument(
        "--playground",
        action=argparse.BooleanOptionalAction,
        default=defaults.playground,
        help="Serve the page at / on which one composes requests (%(default)s).",
    )
    group.add_argument(
        "--scale-jpegs",
        action="store_true",
        help="Decode JPEGs at a half of their size or less where that leaves enough for the view: twice as fast at 12 "
        "megapixels, but other pixels.",
    )
    group.add_argument(
        "--drain-delay",
        type=seconds,
        default=defaults.drain_delay,
        help="Seconds after SIGTERM in which requests are still taken, while /ready is red: what sends them here needs "
        "time to learn it (%(default)s).",
    )
    group.add_argument(
        "--video-reader", type=installed_reader, default=defaults.video_reader, help="Reads videos: pyav or decord."
    )
    group.add_argument(
        "--drain-timeout",
        type=seconds,
        default=defaults.drain_timeout,
        help="Seconds that running requests have to finish then (%(default)s).",
    )
    group.add_argument(
        "--visual-budget",
        metavar="PATH",
        help="JSON file saying what max_visual_tokens picks, as `llava-interleave eval ablation` writes it (our own).",
    )
    group.add_argument(
        "--encoder-cache-visuals",
        type=positive,
        metavar="N",
        help="Unpooled visuals whose encoder outputs are kept for later requests. The cache always holds at least the "
        "tokens of one step (64).",
    )
    group.add_argument(
        "--encode-visuals-at-once",
        type=positive,
        metavar="N",
        help="Most visuals encoded in one step, while streams wait; at most what --max-num-batched-tokens holds (as "
        "many as fit that unpooled; on a CPU 1,024 patches).",
    )
    group.add_argument(
        "--engine-log-level",
        choices=LOG_LEVELS,
        help=f"Level of vLLM's own log (${LOG_LEVEL_VARIABLE}, else error).",
    )
    limits = parser.add_argument_group("limits")
    for field in dataclasses.fields(Limits):
        limits.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            help=f"{field.metadata['help']} (%(default)s)",
        )
