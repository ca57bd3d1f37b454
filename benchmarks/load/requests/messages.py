"""Conversations, messages and their parts, before they are written as one server's API takes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llava_interleave_serve.benchmarks.load.requests.images import Picture
from llava_interleave_serve.benchmarks.load.requests.videos import Clip

PoolingFields = Mapping[str, Any]  # `pooling` and `pool_stride` of this project's API, or neither


@dataclass(frozen=True, slots=True)
class Text:
    """Text of a message."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """One image."""

    picture: Picture
    pooling: PoolingFields = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Video:
    """A video file, of which the server samples `frames` frames."""

    clip: Clip
    frames: int
    pooling: PoolingFields = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of a video, sampled by the client."""

    pictures: tuple[Picture, ...]
    pooling: PoolingFields = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Views:
    """Camera views, each with its camera's name."""

    pictures: tuple[Picture, ...]
    names: tuple[str, ...]
    pooling: PoolingFields = field(default_factory=dict)


Part = Text | Image | Video | Frames | Views


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the user or the assistant, with its parts in order."""

    role: str
    parts: tuple[Part, ...]

    @property
    def images(self) -> int:
        """The number of images and camera views."""
        return sum(len(part.pictures) if isinstance(part, Views) else isinstance(part, Image) for part in self.parts)

    @property
    def frames(self) -> int:
        """The number of video frames."""
        number = 0
        for part in self.parts:
            if isinstance(part, Video):
                number += part.frames
            elif isinstance(part, Frames):
                number += len(part.pictures)
        return number


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a conversation."""

    messages: tuple[Message, ...]
    """All messages up to the question of this turn."""
    max_tokens: int
    known_answer: str | None = None
    """The right answer, where it is known."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns about the same media."""

    turns: tuple[Turn, ...]
    repeat: str = ""
    """Which part of an earlier conversation it repeats, as workload.schema.Repeat names it; empty for new media."""
    session: int = 0
    """Number, in its class, of the conversation that first showed its media."""
