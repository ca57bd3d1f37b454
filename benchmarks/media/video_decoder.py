"""A video decoder to be measured: this server's by either reader, or OpenCV's.

`python -m llava_interleave_serve.benchmarks.media.video_decoder {pyav,decord,opencv}`, started by `videos`. Each
request is the path of a video; the reply is the list of seconds that decoding FRAMES frames of it took. This server's
decoder is timed twice for a video, the second time as for another question about a video just decoded.
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from llava_interleave_serve.benchmarks.media import peer_process
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.decoding.pool import DecodePool
from llava_interleave_serve.server.media.decoding.worker import Job
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.requester import Requester
from llava_interleave_serve.server.media.video.sampling import Sampling
from llava_interleave_serve.server.media.video.video_readers import VIDEO_READERS

FRAMES = 16
IMAGE_SIZE = 384
FREE_BOX = b"\0\0\0\x08free"  # an MP4 box that holds nothing; at a file's end it changes the hash alone
Decode = Callable[[bytes], np.ndarray]  # a file's bytes to uint8 [FRAMES, height, width, 3], RGB


def by_opencv(data: bytes) -> np.ndarray:
    """Decodes FRAMES frames in their own size: every frame up to the last one wanted is decoded in turn."""
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(data)
        file.flush()
        video = cv2.VideoCapture(file.name)
        last = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) - 1
        wanted = set(np.linspace(0, last, FRAMES, dtype=int).tolist())
        frames = []
        for index in range(max(wanted) + 1):
            video.grab()
            if index in wanted:
                frames.append(cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB))
        return np.stack(frames)


@contextlib.contextmanager
def own_decoder(reader: str) -> Iterator[Decode]:
    """Yields this server's decoder, which also resizes the frames; its worker processes end with the block.

    reader: one of VIDEO_READERS.
    """
    with asyncio.Runner() as runner:
        pool = runner.run(_decode_pool(reader))

        def decode(data: bytes) -> np.ndarray:
            job = Job("video", data, Sampling(num_frames=FRAMES))
            return runner.run(pool.decode(job, Requester())).views

        yield decode
        pool.close()


async def _decode_pool(reader: str) -> DecodePool:
    return DecodePool(Limits(decode_timeout=600.0), SquareResize(IMAGE_SIZE), reader)


def seconds(decoder: Decode, data: bytes) -> float:
    """Returns how long decoding takes. Raises RuntimeError if it gives another number of frames than FRAMES."""
    start = time.perf_counter()
    frames = decoder(data)
    elapsed = time.perf_counter() - start
    if len(frames) != FRAMES:
        raise RuntimeError(f"{len(frames)} frames were decoded, not {FRAMES}")
    return round(elapsed, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decoder", choices=(*VIDEO_READERS, "opencv"))
    name: str = parser.parse_args().decoder
    is_own = name in VIDEO_READERS
    with own_decoder(name) if is_own else contextlib.nullcontext(by_opencv) as decoder:
        for number, path in enumerate(peer_process.requests()):
            data = Path(path).read_bytes()
            if is_own and number == 0:  # as in a server that is up: the first worker process has started
                decoder(data + FREE_BOX)
            peer_process.reply([seconds(decoder, data) for _ in range(2 if is_own else 1)])


if __name__ == "__main__":
    main()
