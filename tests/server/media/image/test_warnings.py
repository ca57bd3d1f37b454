"""What Pillow warns of in a picture is neither printed nor kept: a file can provoke a warning for each of its tags.

A process of its own decodes the pictures: pytest makes errors of warnings.
"""

import base64
import contextlib
import io
import json
import struct
import subprocess
import sys

import pytest
from PIL import Image

from tests.support.image_files import NOISE, encode
from tests.support.pictures.jpeg_writer import segment
from tests.support.pictures.png_reader import chunk

# Decodes the files on standard input twice, once behind filters of another library. Prints how many warnings are kept.
DECODER = """
import base64, json, sys, threading, warnings
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.observability.timing import RequestTiming
files = [base64.b64decode(text) for text in json.load(sys.stdin)]
def decode():
    for data in files:
        try:
            decode_image(data, SquareResize(16), Limits(), RequestTiming())
        except Exception:
            pass
decode()
warnings.simplefilter("always")
threads = [threading.Thread(target=decode) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
kept = [getattr(module, "__warningregistry__", {}) for module in list(sys.modules.values())]
print(sum(map(len, kept)), len(warnings.filters))
"""
TAGS = 5000


def exif(kind: int, count: int) -> bytes:
    """Exif data of 5,000 tags, each of which Pillow warns of in words of its own."""
    entries = b"".join(struct.pack("<HHII", tag, kind, count, 8) for tag in range(1, TAGS + 1))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", TAGS) + entries + bytes(4)


def files() -> dict[str, bytes]:
    jpeg, png, webp = (
        encode(NOISE, "JPEG"),
        encode(NOISE, "PNG"),
        encode(NOISE, "WEBP", exif=b"Exif\0\0" + exif(2, 1_000_000)),
    )
    bomb = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0))  # where Pillow begins to warn
    return {
        "tags beyond the end, in a JPEG": jpeg[:2] + segment(0xE1, b"Exif\0\0" + exif(2, 1_000_000)) + jpeg[20:],
        "tags beyond the end, in a PNG": png[:33] + chunk(b"eXIf", exif(2, 1_000_000)) + png[33:],
        "tags beyond the end, in a WebP": webp,
        "several values of a tag": png[:33] + chunk(b"eXIf", exif(3, 2)) + png[33:],
        "a list of pictures": jpeg[:2] + segment(0xE2, b"MPF\0" + exif(2, 1_000_000)) + jpeg[20:],
        "an animation of no frames": png[:33] + chunk(b"acTL", struct.pack(">II", 0, 0)) + png[33:],
        "two animations": png[:33] + chunk(b"acTL", struct.pack(">II", 2, 0)) * 2 + png[33:],
        "100 megapixels": png[:8] + bomb + png[33:],
    }


def test_no_warning_of_a_picture_is_printed_or_kept() -> None:
    texts = json.dumps([base64.b64encode(data).decode() for data in files().values()])
    run = subprocess.run([sys.executable, "-c", DECODER], input=texts, capture_output=True, text=True, check=True)
    kept, filters = (int(number) for number in run.stdout.split())
    assert run.stderr == ""
    assert kept < 100  # of the imports
    assert filters < 30


@pytest.mark.parametrize("name", files())
def test_pillow_alone_warns_of_these_files(name: str) -> None:
    with pytest.warns() as caught, contextlib.suppress(Exception):
        Image.open(io.BytesIO(files()[name])).getexif().get(0x0112)
    assert len({str(warning.message) for warning in caught}) >= (TAGS if name.startswith("tags") else 1)
