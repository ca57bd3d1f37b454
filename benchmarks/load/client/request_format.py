"""A request in the dialect of a server: this project's, or OpenAI's, which knows only text and images."""

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
    Options,
    Part,
    Text,
    Video,
    Views,
)
from llava_interleave_serve.benchmarks.load.requests.schedule import Ask
from llava_interleave_serve.benchmarks.openai_api import content_parts

Content = list[dict[str, Any]]


@dataclass
class Dialect:
    """Writes requests. `changed` counts what could not be sent as it was meant, by what became of it."""

    model: str
    name: str  # "ours" or "openai"
    changed: Counter[str] = field(default_factory=Counter)

    def body(self, ask: Ask) -> bytes:
        """The HTTP body of the request: JSON, to be answered greedily as a stream with its usage."""
        fields = {
            "model": self.model,
            "messages": [self.message(message) for message in ask.content.messages],
            "max_tokens": ask.content.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if ask.kind.ignore_eos:
            fields["ignore_eos"] = True
        return json.dumps(fields).encode()

    def lacks(self, ask: Ask) -> set[str]:
        """What of the request the server has no part or option for."""
        if self.name == "ours":
            return set()
        parts = [part for message in ask.content.messages for part in message.parts]
        lacking = {type(part).__name__.lower() for part in parts if isinstance(part, Video | Frames | Views)}
        return lacking | {"pooling" for part in parts if not isinstance(part, Text) and part.options}

    def message(self, message: Message) -> dict[str, Any]:
        """One turn as the API takes it."""
        if message.role == "assistant":
            return {"role": "assistant", "content": "".join(one.text for one in message.parts if isinstance(one, Text))}
        write = _ours if self.name == "ours" else self._openai
        return {"role": message.role, "content": [piece for part in message.parts for piece in write(part)]}

    def _openai(self, part: Part) -> Content:
        if not isinstance(part, Text) and part.options:
            self.changed["pooling left out"] += 1
        match part:
            case Video(clip, frames):
                self.changed["video files sent as frames, each an image"] += 1
                return [_image(picture) for picture in clip.sample(frames)]
            case Frames(shown):
                self.changed["frames sent as images"] += 1
                return [_image(picture) for picture in shown]
            case Views(shown, names):
                self.changed["camera views sent as images, names as text between them"] += 1
                pairs = zip(shown, names, strict=True)
                return [piece for picture, name in pairs for piece in (_text(f"{name}: "), _image(picture))]
            case Image(picture):
                return [_image(picture)]
            case Text(said):
                return [_text(said)]


def _ours(part: Part) -> Content:
    match part:
        case Video(clip, frames, options):
            return [content_parts.video_part(videos.data_url(clip), num_frames=frames, **options)]
        case Frames(shown, options):
            urls = [{"url": images.data_url(picture)} for picture in shown]
            return [{"type": "video_frames", "video_frames": {"frames": urls, **options}}]
        case Views(shown, names, options):
            views = [
                {"url": images.data_url(picture), "name": name} for picture, name in zip(shown, names, strict=True)
            ]
            return [{"type": "multi_view", "multi_view": {"views": views, **options}}]
        case Image(picture, options):
            return [_image(picture, options)]
        case Text(said):
            return [_text(said)]


def _text(said: str) -> dict[str, Any]:
    return content_parts.text_part(said)


def _image(picture: Picture, options: Options | None = None) -> dict[str, Any]:
    return content_parts.image_part(images.data_url(picture), **(options or {}))
