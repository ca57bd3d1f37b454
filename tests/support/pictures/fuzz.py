"""Decodes damaged pictures of every format, and reports what is neither decoded nor refused.

`python -m tests.support.pictures.fuzz --seconds 600 [--seed 0]` in the repository's root. A picture that crashes the
process, takes longer than MOST_SECONDS or raises another error is written to `--keep`, and ends the run. The last line
is a JSON object of how many pictures were decoded, how many refused, and the memory before and after.
"""

import argparse
import collections
import json
import os
import random
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.observability.timing import RequestTiming
from tests.support import mutants
from tests.support.image_files import encode
from tests.support.pictures import avif_writer, jpeg_writer, structures

MOST_SECONDS = 5.0
WARM_UP = 300  # pictures after which the memory is looked at first
MARGIN_BYTES = 300 << 20  # of a picture of 50 million pixels glibc keeps something


def samples() -> list[bytes]:
    """Pictures of every served format, mode and kind of metadata, and some shapes that are refused."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))
    smooth = noise.resize((7, 5)).resize((96, 72), Image.Resampling.BICUBIC)
    alpha = smooth.convert("RGBA")
    alpha.putalpha(smooth.convert("L"))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "text"
    files = [encode(image, kind) for image in (noise, smooth) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")]
    files += [encode(alpha.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGBA")]
    files += [encode(Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16), "PNG")]
    files += [encode(image, "PNG", transparency=1) for image in (smooth.convert("L"), smooth.quantize(16))]
    files += [encode(smooth, "PNG", transparency=(1, 2, 3), exif=exif), encode(alpha, "PNG", compress_level=0)]
    files += [encode(smooth.convert(mode), "JPEG") for mode in ("L", "CMYK")]
    files += [encode(smooth.convert(mode), "BMP") for mode in ("1", "L", "P", "RGBA")]
    files += [encode(smooth, "JPEG", progressive=True, exif=exif), encode(smooth, "JPEG", restart_marker_blocks=3)]
    files += [encode(smooth, "MPO", save_all=True, append_images=[noise])]
    files += [jpeg_writer.write((37, 29), [(4, 2), (1, 1), (2, 1)], 4, 0, by_scan=by_scan) for by_scan in (False, True)]
    arithmetic = encode(smooth, "JPEG").replace(b"\xff\xc0", b"\xff\xc9", 1)
    run_lengths = bytearray(encode(smooth.convert("P"), "BMP"))
    run_lengths[30] = 1
    files += [arithmetic, bytes(run_lengths)]
    files += [encode(alpha, "WEBP", lossless=True, exif=exif), encode(alpha, "AVIF", exif=exif)]
    frames = [alpha.rotate(90), alpha.rotate(180)]
    files += [encode(alpha, kind, save_all=True, append_images=frames) for kind in ("GIF", "WEBP", "PNG", "AVIF")]
    tiles = [avif_writer.color_item(noise.resize((64, 64))) for _ in range(4)]
    return [*files, avif_writer.write([avif_writer.grid_item(2, 2, (120, 100)), *tiles])]


def picture(seed: int, number: int, files: list[bytes]) -> bytes:
    """One of the damaged pictures; the same for the same seed and number."""
    rng = random.Random(f"{seed} {number}")
    data = structures.mutant(rng, files) if number % 2 else mutants.mutant(rng, files)
    return mutants.mutant(rng, [data]) if number % 5 == 0 and data else data


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def outcome(data: bytes) -> str:
    """What becomes of a picture: decoded, or the code of its refusal. Raises any other error."""
    try:
        decode_image(data, SquareResize(32), Limits(), RequestTiming())
    except RequestError as error:
        return str(error.code)
    return "decoded"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("failing-picture"))
    arguments = parser.parse_args()
    files, outcomes, slowest, before, number = samples(), collections.Counter[str](), 0.0, 0, 0
    end = time.monotonic() + arguments.seconds
    while time.monotonic() < end:
        data = picture(arguments.seed, number, files)
        arguments.keep.write_bytes(data)  # what is there when the process crashes is what crashed it
        started = time.monotonic()
        outcomes[outcome(data)] += 1
        seconds = time.monotonic() - started
        if seconds > MOST_SECONDS:
            sys.exit(f"picture {number} took {seconds:.1f} s")
        slowest, number = max(slowest, seconds), number + 1
        if number == WARM_UP:
            before = resident_bytes()
    after = resident_bytes()
    arguments.keep.unlink()
    report = {"pictures": number, **outcomes, "slowest": round(slowest, 2), "before": before, "after": after}
    print(json.dumps(report))
    if after > before + MARGIN_BYTES:
        sys.exit("the memory grows")


if __name__ == "__main__":
    main()
