"""Thousands of randomly damaged files, sent over HTTP to a server in a process of its own.

`MUTANT_IMAGES=20000 MUTANT_VIDEOS=5000 pytest tests/security/test_mutants.py -s` is a longer run, and prints the
statuses and the resources of the server.
"""

import base64
import collections
import copy
import json
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from llava_interleave_serve.server.media.decoding.process import TRIM_SECONDS
from tests.support import app_server, damaged_videos, mutants, scene_parts
from tests.support.attacked_server import CHAT, assert_refused, chat_body, data_url, media_part
from tests.support.demo_server import RunningServer
from tests.support.image_files import encode
from tests.support.videos import video_files

IMAGES, VIDEOS = int(os.environ.get("MUTANT_IMAGES", "2000")), int(os.environ.get("MUTANT_VIDEOS", "500"))
BODIES = int(os.environ.get("MUTANT_BODIES", "1000"))
CONCURRENCY = 4
MOST_SECONDS = 30.0  # of one request, on however busy a machine; it takes milliseconds
ROOT = Path(__file__).resolve().parents[2]
# The server's resources are compared after the last file with those after the first WARM_UP files, which load modules
# and start what stays. A decode process that waits for its next file holds a few descriptors.
WARM_UP = 40
MARGIN_BYTES, MARGIN_DESCRIPTORS = 64 << 20, 16
# The threads of asyncio's own pool start one by one, when all earlier ones are busy.
MARGIN_THREADS = min(32, (os.cpu_count() or 1) + 4)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The application over a fake engine, alone in its process."""
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
    files = []
    for image in (noise, smooth):
        files += [encode(image, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")]
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        files.append(encode(alpha.convert("I").convert("I;16") if mode == "I;16" else alpha.convert(mode), "PNG"))
    files += [encode(smooth.convert(mode), "JPEG") for mode in ("L", "CMYK")]
    files += [encode(smooth.convert(mode), "BMP") for mode in ("1", "L", "P")]
    files += [encode(smooth, "JPEG", progressive=True, exif=exif), encode(smooth, "PNG", exif=exif)]
    files += [encode(alpha, "WEBP", lossless=True, exif=exif), encode(alpha, "PNG", compress_level=0)]
    for kind in ("GIF", "WEBP", "PNG", "AVIF"):
        files.append(encode(alpha, kind, save_all=True, append_images=[alpha.rotate(90), alpha.rotate(180)]))
    return files


def videos(folder: Path) -> list[bytes]:
    """Videos of every served container, with frames that are reordered, discarded by an edit list, and transparent."""
    frames = video_files.pictures()[:20]
    reordered = [
        video_files.write(folder / "h264.avi", "libx264", {"g": "8", "bf": "3"}, frames),
        video_files.write(folder / "mpeg4.avi", "mpeg4", {"g": "8", "bf": "2"}, frames),
        video_files.write(folder / "hevc.mp4", "libx265", {"x265-params": "keyint=8:log-level=none"}, frames),
    ]
    whole = video_files.write(folder / "whole.mp4", "libx264", {"bf": "2"}, frames)
    shifted = [packet._replace(pts=packet.pts - 7, dts=packet.dts - 7) for packet in video_files.stored_packets(whole)]
    cut = video_files.remux(whole, folder / "cut.mp4", shifted, options={"avoid_negative_ts": "disabled"})
    clear = [np.dstack([frame, frame[..., 0]]) for frame in frames]
    transparent = video_files.write(folder / "clear.mov", "qtrle", {}, clear, pixel_format="argb")
    files = [path.read_bytes() for path in (*reordered, cut, transparent)]
    return [*files, *map(damaged_videos.write, damaged_videos.CODES)]


class Resources(NamedTuple):
    """Resources of the server's process, and the number of its child processes."""

    resident_bytes: int
    descriptors: int
    threads: int
    children: int


def resources(server: RunningServer) -> Resources:
    process = psutil.Process(server.process.pid)
    return Resources(process.memory_info().rss, process.num_fds(), process.num_threads(), len(process.children()))


def send_mutants(server: RunningServer, kind: str, files: list[bytes], count: int) -> collections.Counter[int]:
    """Sends mutants of the files and returns how often each status came back.

    Asserts that every refusal is a 400 of the part, and that the server outlives all of them without keeping memory,
    descriptors, threads or processes. kind: the type of the content part.
    """
    rng = random.Random(f"mutants of {kind}")
    damaged = [mutants.mutant(rng, files) for _ in range(WARM_UP + count)]
    param = f"messages[0].content[0].{kind}.url"

    with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:

        def send(data: bytes) -> int:
            part = media_part(kind, data_url(data, kind.replace("_url", "/x")))
            response = client.post(CHAT, json=chat_body(part))
            assert response.status_code == 200 or assert_refused(response, param=param)
            return response.status_code

        with ThreadPoolExecutor(CONCURRENCY) as threads:
            list(threads.map(send, damaged[:WARM_UP]))
            before = resources(server)
            statuses = collections.Counter(threads.map(send, damaged[WARM_UP:]))
        assert client.post(CHAT, json=chat_body(scene_parts.image_part(1))).status_code == 200
    time.sleep(2 * TRIM_SECONDS)
    after = resources(server)
    deaths = server.metric("lis_decode_worker_deaths_total")
    print(f"{kind}: {dict(statuses)}, {deaths:g} deaths of decode processes; before {before}, after {after}")
    assert server.process.poll() is None
    assert after.resident_bytes <= before.resident_bytes + MARGIN_BYTES
    assert after.descriptors <= before.descriptors + MARGIN_DESCRIPTORS
    assert after.threads <= before.threads + MARGIN_THREADS
    assert after.children <= (os.cpu_count() or 1)
    return statuses


class TestRandomlyDamagedFiles:
    def test_damaged_images_are_decoded_or_refused(self, server: RunningServer) -> None:
        statuses = send_mutants(server, "image_url", pictures(), IMAGES)
        assert statuses.total() == IMAGES
        assert min(statuses[200], statuses[400]) > IMAGES / 20  # the damage is neither harmless nor hopeless

    def test_damaged_videos_are_decoded_or_refused(self, server: RunningServer, tmp_path: Path) -> None:
        statuses = send_mutants(server, "video_url", videos(tmp_path), VIDEOS)
        assert statuses.total() == VIDEOS
        assert min(statuses[200], statuses[400]) > VIDEOS / 20
        assert "Traceback" not in Path(server.log).read_text()


ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e308, 2**63, "", "x", "\0", "\u2028", "none", [], {}, [[]], [{}], {"": ""}, [None],
    "a" * 5000,
)  # fmt: skip


def requests_of_clients() -> list[tuple[str, Any]]:
    """Paths and bodies that real clients have sent, with a picture that can be decoded and the model that is served."""
    text = (ROOT / "tests" / "server" / "routes" / "client_requests.jsonl").read_text()
    text = text.replace("iVBORw0KGgoA...", base64.b64encode(encode(Image.new("RGB", (4, 4)))).decode())
    sent = [json.loads(line) for line in text.splitlines()]
    return [(each.get("path", CHAT), each["body"] | {"model": "fake"}) for each in sent]


def mutant_body(rng: random.Random, bodies: list[Any], files: list[bytes]) -> bytes:
    """A body of which a few values are odd, missing or another body's, or whose bytes are damaged."""
    if rng.random() < 0.3:
        return mutants.mutant(rng, files)
    body = copy.deepcopy(rng.choice(bodies))
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = body
        while isinstance(place, dict | list) and place:
            key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if rng.random() < 0.3 or not isinstance(place[key], dict | list) or not place[key]:
                break
            place = place[key]
        if not isinstance(place, dict | list) or not place:
            continue
        match rng.randrange(4):
            case 0:
                place.pop(key)
            case 1:
                place[key] = copy.deepcopy(rng.choice(rng.choice(list(rng.choice(bodies).items()))))
            case 2 if isinstance(place, list):
                place.extend(copy.deepcopy(place[:3]))
            case _:
                place[key] = copy.deepcopy(rng.choice(ODD_VALUES))
    return json.dumps(body).encode()


class TestRandomlyDamagedBodies:
    def test_a_damaged_body_is_answered_or_refused_soon(self, server: RunningServer) -> None:
        rng, requests = random.Random("mutants of bodies"), requests_of_clients()
        paths, bodies = [path for path, _ in requests], [body for _, body in requests]
        files = [json.dumps(body).encode() for body in bodies]
        damaged = [(rng.choice(paths), mutant_body(rng, bodies, files)) for _ in range(WARM_UP + BODIES)]
        with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:

            def send(request: tuple[str, bytes]) -> int:
                started, (path, data) = time.monotonic(), request
                response = client.post(path, content=data, headers={"Content-Type": "application/json"})
                assert response.status_code in (200, 400, 404, 422), (response.text[:500], data[:2000])
                assert time.monotonic() - started < MOST_SECONDS, data[:2000]
                return response.status_code

            with ThreadPoolExecutor(CONCURRENCY) as threads:
                list(threads.map(send, damaged[:WARM_UP]))
                before = resources(server)
                statuses = collections.Counter(threads.map(send, damaged[WARM_UP:]))
        after = resources(server)
        print(f"bodies: {dict(statuses)}; before {before}, after {after}")
        assert min(statuses[200], statuses[400]) > BODIES / 50
        assert after.resident_bytes <= before.resident_bytes + MARGIN_BYTES
        assert after.descriptors <= before.descriptors + MARGIN_DESCRIPTORS
        assert "Traceback" not in Path(server.log).read_text()
