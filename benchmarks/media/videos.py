"""Compares this server's video decoding with OpenCV's and decord's: seconds from a file's bytes to 16 frames.

`python -m llava_interleave_serve.benchmarks.media.videos [--work FOLDER]`

ffmpeg writes the videos to FOLDER. Each decoder runs in a process of its own, on one core and then on two. OpenCV reads
from the first frame to the last one wanted, and does not resize. decord is this server's with `--video-reader decord`,
and is measured where that is installed. Prints a Markdown table, and one JSON line last.
"""

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from llava_interleave_serve.benchmarks.media import synthetic_files
from llava_interleave_serve.benchmarks.media.peer_process import PeerProcess
from llava_interleave_serve.benchmarks.media.video_decoder import own_decoder

DECODER = "llava_interleave_serve.benchmarks.media.video_decoder"
ROOT = Path(__file__).resolve().parents[2]


def decoding_seconds(decoder: str, files: dict[str, Path], cores: int) -> list[list[float]]:
    """Seconds of each decoding of each file, in a process of `cores` cores."""
    with PeerProcess(DECODER, decoder, cores=cores) as peer:
        return [peer.ask(str(path)) for path in files.values()]


def difference_of_readers(path: Path) -> float:
    """The mean absolute difference of the views by PyAV and by decord, of the frame in which it is largest."""
    with own_decoder("pyav") as by_pyav, own_decoder("decord") as by_decord:
        views, others = (decoder(path.read_bytes()).astype(np.int16) for decoder in (by_pyav, by_decord))
    return round(float(np.abs(views - others).mean((1, 2, 3)).max()), 2)


def compare(folder: Path) -> list[dict[str, Any]]:
    """Measures every video with all decoders, and prints a row of the table for each."""
    # All files are written before anything is timed.
    files = {name: synthetic_files.video_file(folder, name) for name in synthetic_files.VIDEOS}
    has_decord = importlib.util.find_spec("decord") is not None
    rows = []
    print("| video to 16 frames | cores | ours s | ours, again, s | OpenCV s | ratio | decord s | again, s | pixels |")
    print("|---|---|---|---|---|---|---|---|---|")
    for cores in (1, 2):
        own_times = decoding_seconds("pyav", files, cores)
        opencv_times = decoding_seconds("opencv", files, cores)
        decord_times: list[list[Any]] = [[None, None]] * len(files)
        if has_decord:
            decord_times = [*decoding_seconds("decord", files, cores)]
        all_times = zip(files.items(), own_times, opencv_times, decord_times, strict=True)
        for (name, path), (ours, again), (opencv,), (decord, decord_again) in all_times:
            ratio = round(opencv / ours, 1)
            difference = difference_of_readers(path) if has_decord else None
            cells = (name, cores, ours, again, opencv, ratio, decord, decord_again, difference)
            print("|", " | ".join("" if cell is None else str(cell) for cell in cells), "|", flush=True)
            times = {"ours": ours, "again": again, "opencv": opencv, "decord": decord, "decord_again": decord_again}
            row = {"video": name, "cores": cores, "seconds": times, "ratio": ratio, "decord_difference": difference}
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "media", help="folder of the videos")
    folder: Path = parser.parse_args().work
    folder.mkdir(parents=True, exist_ok=True)
    print(json.dumps({"videos": compare(folder)}))


if __name__ == "__main__":
    main()
