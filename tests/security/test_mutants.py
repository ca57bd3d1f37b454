"""Damaged files, over HTTP, to a server in a process of its own: never a crash, never a 500, nothing left behind.

`MUTANT_IMAGES=20000 MUTANT_VIDEOS=5000 pytest tests/security/test_mutants.py -s` is a longer run, and says what it saw.
"""

import collections
import io
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from llava_interleave_serve.server.media.decode_pool import IDLE_SECONDS
from tests.support import app_server, damaged_videos, mutants, scene_parts
from tests.support.attacked_server import CHAT, data_url, part, refusal, request
from tests.support.demo_server import RunningServer

IMAGES, VIDEOS = int(os.environ.get("MUTANT_IMAGES", "2000")), int(os.environ.get("MUTANT_VIDEOS", "500"))
AT_ONCE = 4
# What a server may have more of after the last mutant than after the first ones, which load and warm what stays; a
# process that decodes video, waiting for the next, holds a few descriptors.
WARM_UP = 40
MARGIN_BYTES, MARGIN_DESCRIPTORS = 64 << 20, 16
# asyncio's own pool, whose threads start one by one, when they are first needed beside the others.
MARGIN_THREADS = min(32, (os.cpu_count() or 1) + 4)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with app_server.in_process(tmp_path_factory.mktemp("server")) as server:
        yield server


def pictures() -> list[bytes]:
    """Pictures of every served format, mode and kind of metadata."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))
    smooth = noise.resize((7, 5)).resize((96, 72), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "text"
    alpha = smooth.convert("RGBA")
    alpha.putalpha(smooth.convert("L"))
    found = []
    for image in (noise, smooth):
        found += [saved(image, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP")]
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        found.append(saved(alpha.convert("I").convert("I;16") if mode == "I;16" else alpha.convert(mode), "PNG"))
    found += [saved(smooth.convert(mode), "JPEG") for mode in ("L", "CMYK")]
    found += [saved(smooth.convert(mode), "BMP") for mode in ("1", "L", "P")]
    found += [saved(smooth, "JPEG", progressive=True, exif=exif), saved(smooth, "PNG", exif=exif)]
    found += [saved(alpha, "WEBP", lossless=True, exif=exif), saved(alpha, "PNG", compress_level=0)]
    for kind in ("GIF", "WEBP", "PNG"):
        found.append(saved(alpha, kind, save_all=True, append_images=[alpha.rotate(90), alpha.rotate(180)]))
    return found


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def left_by(server: RunningServer) -> tuple[int, int, int, int]:
    """Resident bytes, descriptors and threads of the server's process, and how many processes it has."""
    process = psutil.Process(server.process.pid)
    return process.memory_info().rss, process.num_fds(), process.num_threads(), len(process.children())


def attack(server: RunningServer, kind: str, files: list[bytes], count: int) -> collections.Counter[int]:
    """Sends mutants of the files; how often each status came. Whatever else is not as it must be fails."""
    rng = random.Random(f"mutants of {kind}")
    wanted = [mutants.mutant(rng, files) for _ in range(WARM_UP + count)]
    param = f"messages[0].content[0].{kind}.url"

    with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:

        def send(data: bytes) -> int:
            answer = client.post(CHAT, json=request(part(kind, data_url(data, kind.replace("_url", "/x")))))
            assert answer.status_code == 200 or refusal(answer, param=param)
            return answer.status_code

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(send, wanted[:WARM_UP]))
            before = left_by(server)
            seen = collections.Counter(threads.map(send, wanted[WARM_UP:]))
        assert client.post(CHAT, json=request(scene_parts.image_part(1))).status_code == 200
    time.sleep(2 * IDLE_SECONDS)
    after = left_by(server)
    deaths = server.metric("lis_video_worker_deaths_total")
    print(f"{kind}: {dict(seen)}, {deaths:g} deaths of decoders; before {before}, after {after}")
    assert server.process.poll() is None
    assert after[0] <= before[0] + MARGIN_BYTES
    assert after[1] <= before[1] + MARGIN_DESCRIPTORS
    assert after[2] <= before[2] + MARGIN_THREADS
    assert after[3] <= (os.cpu_count() or 1)
    return seen


def test_damaged_images_are_seen_or_refused(server: RunningServer) -> None:
    seen = attack(server, "image_url", pictures(), IMAGES)
    assert seen.total() == IMAGES
    assert min(seen[200], seen[400]) > IMAGES / 20  # neither harmless nor hopeless


def test_damaged_videos_are_seen_or_refused(server: RunningServer) -> None:
    seen = attack(server, "video_url", [damaged_videos.write(kind) for kind in damaged_videos.CODES], VIDEOS)
    assert seen.total() == VIDEOS
    assert min(seen[200], seen[400]) > VIDEOS / 20
    assert "Traceback" not in Path(server.log).read_text()
