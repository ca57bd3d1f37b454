"""Video files made of frames."""

import io
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

# OpenCV's writer has this bit rate and least quantiser: files have the size and the quality that they have with it.
BITS_PER_PIXEL = 4
LEAST_QUANTISER = 3  # of 1 to 31


def write_mp4(frames: Iterable[np.ndarray], fps: float) -> bytes:
    """Encodes frames to an MP4 file of MPEG-4 (part 2) video in yuv420p, in memory.

    frames: uint8 [H, W, 3], RGB, all of one size. Equal frames give equal bytes. Raises ValueError if
    there are no frames.
    """
    import av  # noqa: PLC0415 - only who writes videos pays for it

    file = io.BytesIO()
    with av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = None
        for frame in frames:
            if stream is None:
                height, width, _ = frame.shape
                stream = container.add_stream("mpeg4", rate=Fraction(fps).limit_denominator(1001))
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.bit_rate = int(BITS_PER_PIXEL * width * height * fps)
                stream.options = {"qmin": str(LEAST_QUANTISER), "flags": "+bitexact"}
                stream.codec_context.thread_count = 1
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        if stream is None:
            raise ValueError("a video needs a frame at least")
        container.mux(stream.encode())
    return file.getvalue()
