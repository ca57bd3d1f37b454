"""Compares this server's video decoding with OpenCV's: seconds from a file's bytes to 16 frames.

`python -m llava_interleave_serve.benchmarks.media.videos [--work FOLDER]`

ffmpeg writes the videos to FOLDER. Each decoder runs in a process of its own, on one core and then on two. OpenCV reads
from the first frame to the last one wanted, and does not resize. Prints a Markdown table, and one JSON line last.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from llava_interleave_serve.benchmarks.media import synthetic_files
from llava_interleave_serve.benchmarks.media.peer_process import PeerProcess

DECODER = "llava_interleave_serve.benchmarks.media.video_decoder"
ROOT = Path(__file__).resolve().parents[2]


def decoding_seconds(decoder: str, files: dict[str, Path], cores: int) -> list[list[float]]:
    """Seconds of each decoding of each file, in a process of `cores` cores."""
    with PeerProcess(DECODER, decoder, cores=cores) as peer:
        return [peer.ask(str(path)) for path in files.values()]


def compare(folder: Path) -> list[dict[str, Any]]:
    """Measures every video with both decoders, and prints a row of the table for each."""
    # All files are written before anything is timed.
    files = {name: synthetic_files.video_file(folder, name) for name in synthetic_files.VIDEOS}
    rows = []
    print("| video to 16 frames | cores | ours s | ours, asked again, s | OpenCV s | ratio |")
    print("|---|---|---|---|---|---|")
    for cores in (1, 2):
        own_times = decoding_seconds("ours", files, cores)
        opencv_times = decoding_seconds("opencv", files, cores)
        for name, (ours, again), (opencv,) in zip(files, own_times, opencv_times, strict=True):
            ratio = round(opencv / ours, 1)
            print(f"| {name} | {cores} | {ours:.2f} | {again:.2f} | {opencv:.2f} | {ratio} |", flush=True)
            times = {"ours": ours, "again": again, "opencv": opencv}
            rows.append({"video": name, "cores": cores, "seconds": times, "ratio": ratio})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "media", help="folder of the videos")
    folder: Path = parser.parse_args().work
    folder.mkdir(parents=True, exist_ok=True)
    print(json.dumps({"videos": compare(folder)}))


if __name__ == "__main__":
    main()
