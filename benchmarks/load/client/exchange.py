"""What one request met with, as the network showed it: times and bytes, nothing read into them yet."""

from dataclasses import dataclass, field


@dataclass
class Exchange:
    """Times in seconds from the run's start.

    due: when the schedule wanted it sent; every latency counts from here. woke: when the client came to it; woke - due
    is the client's own lag. sent: when its first byte went out, after any wait for a connection. pieces: when each
    piece of the answer's body came, and its bytes. failed: why there is no whole answer, or empty.
    """

    number: int
    due: float
    woke: float = 0.0
    sent: float | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    ended: float = 0.0
    failed: str = ""

    @property
    def running(self) -> bool:
        return self.ended == 0.0
