"""The request that media are loaded for."""

from dataclasses import dataclass, field

from llava_interleave_serve.server.errors import LimitExceeded
from llava_interleave_serve.server.observability.timing import RequestTiming


@dataclass(slots=True, eq=False)
class Requester:
    """The request that media are loaded for; each request is one of its own, whatever its fields.

    Attributes:
        key: digest of the API key that sent it; empty without keys.
        timing: durations of its phases, to which those of its media are added.
        pixels: of its large pictures, as far as these have been opened.
        fetched_bytes: bytes of media that have been fetched for it.

    """

    key: str = ""
    timing: RequestTiming = field(default_factory=RequestTiming)
    pixels: int = 0
    fetched_bytes: int = 0


class RequestMediaTooLarge(LimitExceeded):
    """The media of one request are too large together; another request may load the same file."""
