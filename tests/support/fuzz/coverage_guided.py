"""Fuzzes a parser of this server, guided by the branches that each input takes.

`pip install atheris`, then `python -m tests.support.fuzz.coverage_guided TARGET [--seconds N]`. Each target takes bytes
and may raise a RequestError and nothing else; the guards of pictures and MemoryError aside, what it accepts is checked
against a second reading. An input that breaks that, or takes more than SLOW_SECONDS, is written to a file and ends the
run with code 77.
"""

import argparse
import asyncio
import contextlib
import io
import math
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["llava_interleave_serve"]):
    from llava_interleave_serve.server.body import parse_json
    from llava_interleave_serve.server.errors import RequestError
    from llava_interleave_serve.server.limits import Limits
    from llava_interleave_serve.server.media import data_url
    from llava_interleave_serve.server.media.image import avif_guards, gif_guards, jpeg_guards, png, png_guards
    from llava_interleave_serve.server.media.video.sampling import Sampling, sample
    from llava_interleave_serve.server.prompt import chat_request, request_counts
    from tests.support.fuzz import http_connection

import numpy as np
from PIL import Image

from tests.support.pictures import fuzz

SLOW_SECONDS = 5
LIMITS = Limits(max_pixels=1_000_000)


def read_png(data: bytes) -> None:
    """Pixels that our decoder reads have the size that Pillow sees, which is the one that is checked."""
    png_guards.check_chunks(data)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            size = image.size
    except Exception:  # noqa: BLE001 - what Pillow cannot open is not decoded
        return
    if size[0] * size[1] <= LIMITS.max_pixels:
        pixels = png.decode(data, size)
        assert pixels is None or pixels.shape[1::-1] == size


def read_jpeg(data: bytes) -> None:
    header = jpeg_guards.check_header(data)
    if header is not None:
        jpeg_guards.check_scans(data, header, header.size[0] * header.size[1], LIMITS.max_pixels)


def read_avif(data: bytes) -> None:
    avif_guards.checked(data, LIMITS)


def read_gif(data: bytes) -> None:
    gif_guards.check_blocks(data)


def read_data_url(data: bytes) -> None:
    content = data_url.decode_data_url(b"data:" + data, "image", 1000)
    assert len(content) <= 1000


def read_sampling(data: bytes) -> None:
    """Samples are rising indices of frames, no more than allowed, whatever the times and the span."""
    count = data[0] % 64 + 1 if data else 1
    numbers = struct.unpack("<4d", data[1:33].ljust(32, b"\0"))
    fps, start, end = (abs(number) if math.isfinite(number) and number else None for number in numbers[:3])
    steps = np.frombuffer(data[33 : 33 + count].ljust(count, b"\1"), np.uint8) / 16 + 0.01
    times = np.cumsum(steps) - steps[0]
    sampling = Sampling(None if fps else data[-1] % 20 + 1 if data else None, fps, start, end)
    indices = sample(times, float(times[-1] + 0.1), sampling, 16)
    assert indices == sorted(set(indices))
    assert 0 <= indices[0] <= indices[-1] < count
    assert len(indices) <= 16


def read_request(data: bytes) -> None:
    body = parse_json(data)
    request_counts.check(body, LIMITS)
    chat_request.parse(body)


def read_http(data: bytes) -> None:
    """A request is read as it is in one piece, wherever it is cut."""
    cut = data[0] if data else 0
    whole = asyncio.run(http_connection.answers([data[1:]]))
    in_two = asyncio.run(http_connection.answers([data[1 : cut + 1], data[cut + 1 :]]))
    first, second = (answer.partition(b"\r\n\r\n") for answer in (whole, in_two))
    if first[0].startswith(OK) and second[0].startswith(OK):
        assert first[2] == second[2] or second[2].startswith(
            first[2]
        )  # a further request is answered if it comes later


TARGETS: dict[str, Callable[[bytes], None]] = {
    "png": read_png,
    "jpeg": read_jpeg,
    "avif": read_avif,
    "gif": read_gif,
    "data-url": read_data_url,
    "sampling": read_sampling,
    "request": read_request,
    "http": read_http,
}
OK = b"HTTP/1.1 200"
HTTP_REQUESTS = (
    b"\x10POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\nHost:\r\n\r\n",
    b"\x30POST / HTTP/1.1\r\nHost: [::1]:8\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;a=b\r\nabc\r\n0\r\nTrailer: a\r\n\r\n",
    b"\x05HEAD http://x/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: keep-alive, close\r\n\r\n",
)
REQUESTS = (
    b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":'
    b'{"url":"data:,","detail":"low"},"pooling":"max"}]}],"max_tokens":3,"response_format":{"type":"json_schema",'
    b'"json_schema":{"name":"a","schema":{"type":"object","properties":{"a":{"pattern":"a+"}}}}}}',
    b'{"messages":[{"role":"user","content":[{"type":"video_url","video_url":{"url":"a"},"num_frames":3,"fps":null},'
    b'{"type":"multi_view","multi_view":{"views":[{"url":"a","name":"b"}]}}]}],"structured_outputs":{"grammar":"a"},'
    b'"n":2,"temperature":0.5,"logit_bias":{"1":2},"stream":true,"stream_options":{"include_usage":true}}',
)


def seeds(target: str) -> list[bytes]:
    """Inputs to begin with."""
    if target == "request":
        return list(REQUESTS)
    if target == "http":
        return list(HTTP_REQUESTS)
    if target in ("data-url", "sampling"):
        return [b"image/png;base64,aGVsbG8=", b"image/png;BASE64,%61GVs%0A bG8", b"," + bytes(range(64))]
    return fuzz.samples()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600, help="(%(default)s)")
    arguments = parser.parse_args()
    run = TARGETS[arguments.target]

    def test_one_input(data: bytes) -> None:
        with contextlib.suppress(RequestError, MemoryError):
            run(data)

    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds(arguments.target)):
            Path(folder, str(number)).write_bytes(seed)
        options = [
            f"-max_total_time={arguments.seconds}",
            f"-timeout={SLOW_SECONDS}",
            "-max_len=20000",
            "-rss_limit_mb=0",
        ]
        atheris.Setup([sys.argv[0], *options, folder], test_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
