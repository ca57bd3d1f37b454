"""The request that media are loaded for."""

from dataclasses import dataclass, field

from llava_interleave_serve.server.observability.timing import RequestTiming


@dataclass(slots=True, eq=False)
class Requester:
    """The request that media are loaded for; each request is one of its own, whatever its fields.

    Attributes:
        key: digest of the API key that sent it; empty without keys.
        timing: durations of its phases, to which those of its media are added.
        fetched_bytes: bytes of media that have been fetched for it.

    """

    key: str = ""
    timing: RequestTiming = field(default_factory=RequestTiming)
    fetched_bytes: int = 0
