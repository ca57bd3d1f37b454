"""What a process that decodes media may say; a process that a file has taken over may say anything else."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Side = Annotated[int, Field(ge=1, le=1 << 31)]  # of a picture, in pixels
Interval = Annotated[list[float], Field(min_length=2, max_length=2)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class SizeQuestion(_Message):
    """The process asks whether it may decode.

    Attributes:
        pixels: of a picture, or of one frame.
        pictures: of that size, one after another; of a video, the frames left.

    """

    pixels: int = Field(ge=1)
    pictures: int = Field(ge=1)


class VideoFacts(_Message):
    """What `decode_video` returns beside the frames."""

    indices: list[int]
    times: list[float]
    duration: float
    fps: float


class Result(_Message):
    """The end of a job.

    Attributes:
        views: number of views; none where the size is all that was wanted.
        size: width and height of a picture as a viewer would show it.
        pixels: decoded, as the file holds them.
        data_url_bytes: of the file that was in a data URL; 0 without one.
        intervals: of the phases, in seconds of time.monotonic.
        video: facts of a video.

    """

    views: int = Field(ge=0)
    size: list[Side] | None = Field(default=None, min_length=2, max_length=2)
    pixels: int = Field(ge=0)
    data_url_bytes: int = Field(ge=0)
    intervals: dict[Literal["fetch", "decode", "preprocess"], list[Interval]]
    video: VideoFacts | None = None


class Refusal(_Message):
    """The job's error: one of worker.REFUSALS, or MemoryError."""

    error: Literal["RequestError", "MediaError", "FetchError", "LimitExceeded", "MemoryError"]
    message: str = Field(max_length=1000)
    param: str | None = Field(max_length=20)


class Ready(_Message):
    """The process can run jobs, unless there is a failure to report."""

    failure: str = Field(max_length=1000)
