"""Conversations of small classes, and what they show."""

from typing import Any

from llava_interleave_serve.benchmarks.load.requests.conversations import ConversationGenerator
from llava_interleave_serve.benchmarks.load.requests.messages import Conversation, Frames, Image, Part, Text, Views
from llava_interleave_serve.benchmarks.load.requests.schedule import conversation_generator
from llava_interleave_serve.benchmarks.load.workload.media import Media
from llava_interleave_serve.benchmarks.load.workload.schema import Kind, RequestClass

SMALL = Media(sizes=((64, 48),), clip_frames=(8,))


def generator(kind: Kind, *, seed: str = "test", **fields: Any) -> ConversationGenerator[Any]:
    """The conversations of a class of that kind, with small pictures."""
    return conversation_generator(RequestClass(name=kind, kind=kind, **{"media": SMALL, **fields}), seed)


def first_parts(conversation: Conversation) -> tuple[Part, ...]:
    """The parts of the first message."""
    return conversation.turns[0].messages[0].parts


def pictures(conversation: Conversation) -> list[bytes]:
    """The files of the images, frames and views of the first message."""
    files = []
    for part in first_parts(conversation):
        match part:
            case Image(picture):
                files.append(picture.file().content)
            case Frames(parts) | Views(parts):
                files += [picture.file().content for picture in parts]
            case _:
                pass
    return files


def text(conversation: Conversation) -> str:
    """The text of the first message."""
    return " ".join(part.text for part in first_parts(conversation) if isinstance(part, Text))
