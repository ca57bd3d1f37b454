"""Writes requests as a server's API takes them: this project's, or OpenAI's, which has only text and images."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from llava_interleave_serve.benchmarks.load.requests import images, videos
from llava_interleave_serve.benchmarks.load.requests.images import Picture
from llava_interleave_serve.benchmarks.load.requests.messages import (
    Frames,
    Image,
    Message,
    Part,
    PoolingFields,
    Text,
    Video,
    Views,
)
from llava_interleave_serve.benchmarks.load.requests.schedule import ScheduledRequest
from llava_interleave_serve.benchmarks.openai_api.content_parts import image_part, text_part, video_part

Content = list[dict[str, Any]]


@dataclass
class RequestFormat:
    """Writes requests to one model of one server."""

    model: str
    dialect: str
    """`ours` or `openai`."""
    changes: Counter[str] = field(default_factory=Counter)
    """Number of parts and requests that could not be sent as the workload means them, by what became of them."""

    def body(self, request: ScheduledRequest) -> bytes:
        """The HTTP body: JSON, for an answer decoded greedily and streamed, with its usage."""
        fields = {
            "model": self.model,
            "messages": [self.message(message) for message in request.content.messages],
            "max_tokens": request.content.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.request_class.ignore_eos:
            fields["ignore_eos"] = True
        return json.dumps(fields).encode()

    def unsupported(self, request: ScheduledRequest) -> set[str]:
        """The parts and options of the request that the server's API does not have."""
        if self.dialect == "ours":
            return set()
        parts = [part for message in request.content.messages for part in message.parts]
        missing = {type(part).__name__.lower() for part in parts if isinstance(part, Video | Frames | Views)}
        return missing | {"pooling" for part in parts if not isinstance(part, Text) and part.pooling}

    def message(self, message: Message) -> dict[str, Any]:
        """A message as the API takes it."""
        if message.role == "assistant":
            text = "".join(part.text for part in message.parts if isinstance(part, Text))
            return {"role": "assistant", "content": text}
        write = _ours if self.dialect == "ours" else self._openai
        return {"role": message.role, "content": [content for part in message.parts for content in write(part)]}

    def _openai(self, part: Part) -> Content:
        """The part as text and images; counts what is lost."""
        if not isinstance(part, Text) and part.pooling:
            self.changes["pooling left out"] += 1
        match part:
            case Video(clip, frames):
                self.changes["video files sent as frames, each an image"] += 1
                return [_image(picture) for picture in clip.sample(frames)]
            case Frames(pictures):
                self.changes["frames sent as images"] += 1
                return [_image(picture) for picture in pictures]
            case Views(pictures, names):
                self.changes["camera views sent as images, names as text between them"] += 1
                named = zip(pictures, names, strict=True)
                return [content for picture, name in named for content in (text_part(f"{name}: "), _image(picture))]
            case Image(picture):
                return [_image(picture)]
            case Text(text):
                return [text_part(text)]


def _ours(part: Part) -> Content:
    """The part as docs/http.md describes it."""
    match part:
        case Video(clip, frames, pooling):
            return [video_part(videos.data_url(clip), num_frames=frames, **pooling)]
        case Frames(pictures, pooling):
            urls = [{"url": images.data_url(picture)} for picture in pictures]
            return [{"type": "video_frames", "video_frames": {"frames": urls, **pooling}}]
        case Views(pictures, names, pooling):
            named = zip(pictures, names, strict=True)
            views = [{"url": images.data_url(picture), "name": name} for picture, name in named]
            return [{"type": "multi_view", "multi_view": {"views": views, **pooling}}]
        case Image(picture, pooling):
            return [_image(picture, pooling)]
        case Text(text):
            return [text_part(text)]


def _image(picture: Picture, pooling: PoolingFields | None = None) -> dict[str, Any]:
    return image_part(images.data_url(picture), **(pooling or {}))
