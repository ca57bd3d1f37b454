"""Video files made of frames."""

import io
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

BITS_PER_PIXEL = 4  # the bit rate's bound, far above what most frames need at the best quality
BEST_QUANTISER = 2  # of MPEG-4's scale of 1 to 31, and the least that FFmpeg's encoder takes unasked


def write_mp4(frames: Iterable[np.ndarray], fps: float) -> bytes:
    """Encodes frames to an MP4 file of MPEG-4 (part 2) video in yuv420p, in memory.

    frames: uint8 [H, W, 3], RGB, all of one size, H and W even. Equal frames give equal bytes. Raises ValueError if
    there are no frames.
    """
    import av  # noqa: PLC0415 - only who writes videos pays for it

    file = io.BytesIO()
    with av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = None
        for frame in frames:
            if stream is None:
                height, width, _ = frame.shape
                stream = container.add_stream("mpeg4", rate=Fraction(fps).limit_denominator(1000))
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.bit_rate = int(BITS_PER_PIXEL * width * height * fps)
                stream.options = {"qmin": str(BEST_QUANTISER), "flags": "+bitexact"}
                stream.codec_context.thread_count = 1
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        if stream is None:
            raise ValueError("a video needs a frame at least")
        container.mux(stream.encode())
    return file.getvalue()
