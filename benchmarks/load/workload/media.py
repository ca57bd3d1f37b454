"""The media of a workload file: where visuals come from and how they are encoded."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from llava_interleave_serve.benchmarks.load.workload.values import (
    Count,
    CountsOfTwoOrMore,
    Positive,
    Size,
    Table,
    Text,
    as_tuple,
    one_of,
)

Source = Literal["noise", "scenes", "folder"]
ImageFormat = Literal["jpeg", "png", "webp"]


class SharedMedia(Table):
    """The visuals of every class that does not describe its own."""

    source: Annotated[Source, one_of(Source)] = "noise"
    """noise: photograph-like, synthesised; scenes: the demo's coloured shapes; folder: the files of `folder`."""
    folder: Text = ""
    """Folder whose pictures or videos are sent as they are."""
    sizes: Annotated[tuple[Size, ...], Field(min_length=1), BeforeValidator(as_tuple)] = ((640, 480),)
    """Width and height in pixels, such as "640x480"; each visual has one of them."""
    formats: Annotated[
        tuple[Annotated[ImageFormat, one_of(ImageFormat)], ...], Field(min_length=1), BeforeValidator(as_tuple)
    ] = ("jpeg",)
    """File formats of images, frames and views; each has one of them."""
    quality: Count = 85
    """Quality of JPEG and WebP files."""
    clip_frames: CountsOfTwoOrMore = (64,)
    """Frames of a video file: a number, a list, or a range such as "24-96"."""
    clip_fps: Positive = 8.0
    """Frames a second of a video file."""


class Media(SharedMedia):
    """The visuals of a class: where they come from and how they are encoded."""

    @model_validator(mode="after")
    def _folder_of_its_source(self) -> Self:
        if (self.source == "folder") != bool(self.folder):
            raise ValueError('media.folder goes with source = "folder", and that with a folder')
        if self.folder and not Path(self.folder).is_dir():
            raise ValueError(f"media.folder: {self.folder} is not a folder")
        return self
