"""Content parts of a chat message, as the OpenAI API spells them, and the data URLs in them.

`video_url` is not OpenAI's own; this project's server and vLLM take it (docs/http.md).
"""

import base64
from typing import Any, Literal

PoolingMode = Literal["none", "average", "max", "bilinear"]  # of the option `pooling` (docs/http.md)


def data_url(content: bytes, media_type: str) -> str:
    """Returns a file as a data URL. `media_type` is such as `image/png` or `video/mp4`."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def text_part(text: str) -> dict[str, Any]:
    """Returns a part with the text as it is."""
    return {"type": "text", "text": text}


def image_part(url: str, **options: Any) -> dict[str, Any]:
    """Returns a part with an image; the options (`pooling`, `pool_stride`) stand beside its URL."""
    return {"type": "image_url", "image_url": {"url": url, **options}}


def video_part(url: str, **options: Any) -> dict[str, Any]:
    """Returns a part with a video; the options (`num_frames`, `pooling`, …) stand beside its URL."""
    return {"type": "video_url", "video_url": {"url": url, **options}}
