"""Converts a decoded video frame to the picture that is shown."""

import math
from collections.abc import Mapping

import numpy as np
from av.buffer import Buffer
from av.video.frame import VideoFrame
from PIL import Image

from llava_interleave_serve.server.media.image.transparency import over_white


def to_rgb(frame: VideoFrame, width: int, height: int, *, has_alpha: bool) -> np.ndarray:
    """Converts a frame to uint8 [H, W, 3], RGB, over white where it is transparent, turned and mirrored as it is shown.

    width, height: what the frame is scaled to before it is turned. has_alpha: False if the alpha of formats that have
    one means nothing.
    """
    if has_alpha and (frame.format.has_palette or any(component.is_alpha for component in frame.format.components)):
        picture = Image.fromarray(frame.to_ndarray(format="rgba", width=width, height=height))
        pixels = np.asarray(over_white(picture).convert("RGB"))
    else:
        pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
    return _displayed(pixels, *_display_matrix(frame))


def _display_matrix(frame: VideoFrame) -> tuple[float, float, float, float]:
    """Numbers a, b, c, d, up to a factor: column x and row y are shown in column a x + c y and row b x + d y.

    They are those of ffmpeg's display matrix, whose others move the picture.
    """
    try:
        side_data: Mapping[str, Buffer] = frame.side_data  # type: ignore[assignment] # PyAV's stub has another type
    except ValueError:  # PyAV gives no side data if there is any that it does not know, Exif for example; but the angle
        angle = math.radians(-frame.rotation)
        return math.cos(angle), math.sin(angle), -math.sin(angle), math.cos(angle)
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32, count=5).tolist()
    return a, b, c, d


def _displayed(pixels: np.ndarray, a: float, b: float, c: float, d: float) -> np.ndarray:
    """Turns and mirrors a picture [H, W, 3] as ffmpeg does by default, but for angles that are no quarter turns."""
    scales = math.hypot(a, c), math.hypot(b, d)
    if 0 in scales:
        return pixels
    degrees = round(math.degrees(math.atan2(b / scales[1], a / scales[0])))
    if degrees % 90:
        return pixels
    if degrees % 180:
        pixels, flips_columns, flips_rows = pixels.swapaxes(0, 1), c < 0, b < 0
    else:
        flips_columns, flips_rows = a < 0, d < 0
    return pixels[:: -1 if flips_rows else 1, :: -1 if flips_columns else 1]
