"""Compares this server's front end with vLLM's: pictures a second from a request's body to the engine's input.

`python -m llava_interleave_serve.benchmarks.media.pictures --torchvision FOLDER`

`scripts/install_peer_torchvision.sh` writes to FOLDER the torchvision that vLLM's LLaVA class needs. Each front end
runs in a process of its own, on one core and then on two: a JSON body in, the hashed engine input with its placeholders
out, four requests at a time, no cache of pictures. The two take turns, since a machine is not always as fast. Prints a
Markdown table of medians over the rounds, and one JSON line last.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from llava_interleave_serve.benchmarks.media import synthetic_files
from llava_interleave_serve.benchmarks.media.peer_process import PeerProcess

PACKAGE = "llava_interleave_serve.benchmarks.media"
ROOT = Path(__file__).resolve().parents[2]
MEDIANS = ("images_per_second", "cpu_ms_per_image")  # the peak of memory is measured once
Figures = dict[str, float]


class Case(NamedTuple):
    """The requests that are measured together."""

    size: str
    """One of synthetic_files.PICTURE_SIZES."""
    file_format: str
    """One of synthetic_files.FORMATS."""
    images: int
    """Pictures of a request."""


def cases(quick: bool) -> list[Case]:
    """Every size, format and number of pictures; of the sizes 1280x720 alone if `quick`."""
    sizes = ["1280x720"] if quick else list(synthetic_files.PICTURE_SIZES)
    return [Case(size, name, images) for size in sizes for name in synthetic_files.FORMATS for images in (1, 8)]


def compare(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures every case with both front ends, and prints a row of the table for each."""
    options = ["--seconds", str(arguments.seconds)]
    own_options = [*options, "--scale-jpegs"] if arguments.scale_jpegs else options
    rows = []
    print("| pictures | cores | ours /s | vLLM /s | ratio | CPU ms an image, ours, vLLM | peak MiB, ours, vLLM |")
    print("|---|---|---|---|---|---|---|")
    for cores in (1, 2):
        with (
            PeerProcess(f"{PACKAGE}.own_front_end", *own_options, cores=cores) as own,
            PeerProcess(f"{PACKAGE}.vllm_front_end", *options, cores=cores, extra_path=arguments.torchvision) as vllm,
        ):
            for case in cases(arguments.quick):
                own_rounds: list[Figures] = []
                vllm_rounds: list[Figures] = []
                for number in range(arguments.rounds):
                    own_rounds.append(own.ask([*case, number == 0]))
                    vllm_rounds.append(vllm.ask([*case, number == 0]))
                rows.append(row(case, cores, _medians(own_rounds), _medians(vllm_rounds)))
    return rows


def row(case: Case, cores: int, ours: Figures, vllm: Figures) -> dict[str, Any]:
    """Prints the row of one case and returns it."""
    ratio = round(ours["images_per_second"] / vllm["images_per_second"], 2)
    rates = f"{ours['images_per_second']:.1f} | {vllm['images_per_second']:.1f} | {ratio}"
    cpu = f"{ours['cpu_ms_per_image']:.1f}, {vllm['cpu_ms_per_image']:.1f}"
    peaks = f"{ours['peak_mib_per_request']:.0f}, {vllm['peak_mib_per_request']:.0f}"
    print(f"| {case.images} x {case.size} {case.file_format} | {cores} | {rates} | {cpu} | {peaks} |", flush=True)
    return {"case": case, "cores": cores, "ours": ours, "stock": vllm, "ratio": ratio}


def _medians(rounds: list[Figures]) -> Figures:
    return rounds[0] | {name: statistics.median(figures[name] for figures in rounds) for name in MEDIANS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torchvision", type=Path, default=ROOT / "build" / "peer-torchvision")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each case, a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="in which the front ends take turns (%(default)s)")
    parser.add_argument("--scale-jpegs", action="store_true", help="our server's option")
    parser.add_argument("--quick", action="store_true", help="1280x720 only")
    print(json.dumps({"pictures": compare(parser.parse_args())}))


if __name__ == "__main__":
    main()
