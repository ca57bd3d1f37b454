"""MP4 files of any frames."""

import io
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
from av.codec.context import Flags
from av.video.stream import VideoStream

# OpenCV's writer has this bit rate and least quantiser: files have the size and the quality that they have with it.
BITS_PER_PIXEL = 4
LEAST_QUANTISER = 3  # of 1 to 31
MAX_RATE_TERM = 65535  # MPEG-4 stores the frame rate as a fraction whose numerator has 16 bits


def write_mp4(frames: Iterable[np.ndarray], fps: float) -> bytes:
    """Encodes frames as an MP4 file (MPEG-4 part 2, yuv420p, no sound); equal frames give equal bytes.

    frames: uint8 [H, W, 3] RGB, all of one size; taken one at a time. fps: frames per second, above 0.

    Raises ValueError if there is no frame, or one of another size.
    """
    buffer, stream, shape = io.BytesIO(), None, None
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        for frame in frames:
            if stream is None:
                shape, stream = frame.shape, container.add_stream("mpeg4", rate=_frame_rate(fps))
                _configure(stream, height=frame.shape[0], width=frame.shape[1], fps=fps)
            if frame.shape != shape:
                raise ValueError(f"the frames of a video have one size, but {frame.shape} came after {shape}")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        if stream is None:
            raise ValueError("a video has at least one frame")
        container.mux(stream.encode())
    return buffer.getvalue()


def _frame_rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(max(1, min(1001, int(MAX_RATE_TERM / fps))))


def _configure(stream: VideoStream, height: int, width: int, fps: float) -> None:
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    stream.codec_context.bit_rate = int(BITS_PER_PIXEL * height * width * fps)
    stream.options = {"qmin": str(LEAST_QUANTISER)}
    stream.codec_context.thread_count = 1  # so that the bytes do not depend on the machine
    stream.codec_context.flags |= Flags.bitexact  # no version of the encoder in the file
