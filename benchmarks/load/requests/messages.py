"""What a request says, before it is written in the dialect of a server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llava_interleave_serve.benchmarks.load.requests.images import Picture
from llava_interleave_serve.benchmarks.load.requests.videos import Clip

Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    picture: Picture
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Video:
    """A video file, of which the server takes `frames` frames."""

    clip: Clip
    frames: int
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of a video, sampled by the client."""

    pictures: tuple[Picture, ...]
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Views:
    """Camera views, each with its camera's name."""

    pictures: tuple[Picture, ...]
    names: tuple[str, ...]
    options: Options = field(default_factory=dict)


Part = Text | Image | Video | Frames | Views


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the user or the assistant."""

    role: str
    parts: tuple[Part, ...]

    @property
    def images(self) -> int:
        """Images and camera views in it."""
        return sum(len(part.pictures) if isinstance(part, Views) else isinstance(part, Image) for part in self.parts)

    @property
    def frames(self) -> int:
        """Video frames in it."""
        number = 0
        for part in self.parts:
            if isinstance(part, Video):
                number += part.frames
            elif isinstance(part, Frames):
                number += len(part.pictures)
        return number


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a conversation: the messages up to here. `right`: the known answer, if there is one."""

    messages: tuple[Message, ...]
    max_tokens: int
    right: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns about the same media. `repeat`: how its media were shown before (`exact`, `order`, ...), or empty."""

    turns: tuple[Turn, ...]
    repeat: str = ""
