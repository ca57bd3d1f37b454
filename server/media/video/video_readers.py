"""Names the readers of video files, and imports them where they are installed."""

import argparse
import importlib.util
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from llava_interleave_serve.server.media.video.decord_reader import DecordReader
    from llava_interleave_serve.server.media.video.frame_reader import FrameReader

VideoReader: TypeAlias = "FrameReader | DecordReader"
VIDEO_READERS = ("pyav", "decord")


def installed_reader(name: str) -> str:
    """Parses the name of a reader, as an argparse type. Raises ArgumentTypeError for one that is not installed."""
    if name not in VIDEO_READERS:
        raise argparse.ArgumentTypeError(f"must be {' or '.join(VIDEO_READERS)}, not {name}")
    if name == "decord" and importlib.util.find_spec("decord") is None:
        raise argparse.ArgumentTypeError("decord is not installed: in a checkout, pip install -e '.[decord]'")
    return name


def reader_class(name: str) -> type[VideoReader]:
    """Imports the reader of this name. Only a process that decodes video does so, within its limits."""
    if name == "decord":
        from llava_interleave_serve.server.media.video.decord_reader import DecordReader  # noqa: PLC0415 - as above

        return DecordReader
    from llava_interleave_serve.server.media.video.frame_reader import FrameReader  # noqa: PLC0415 - as above

    return FrameReader
