"""Server-sent events of a streamed chat completion, read after the run or while they arrive.

* `events` decodes pieces of a response that were kept with their times, once the run is over.
* `live_events` decodes a response while it arrives and takes the time of each piece itself.
* `completion_chunks` does the same and raises an error for a stream that is not a whole answer.

An event ends at an empty line. Its `data:` lines are joined by newlines (https://html.spec.whatwg.org, "Server-sent
events"); comments and other fields are skipped. Lines end in LF, CR or CR LF, and at no
other character: httpx.Response.iter_lines and str.splitlines would cut a text at U+2028.
"""

import json
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

DONE = "[DONE]"
UNREADABLE = "unreadable"
EXCERPT = 200  # characters of unreadable data that are kept


class StreamError(Exception):
    """The stream is not a whole answer: it broke off, reported an error, or held an event that is not JSON."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    Attributes:
        time: The time of the piece that completed the event, by the clock of whoever received the pieces.
        data: The event's JSON object, or the text `[DONE]`. Data that is neither becomes {"unreadable": its start}.

    """

    time: float
    data: Any


class EventDecoder:
    """Splits a byte stream into the data of its events; pieces may end anywhere, even within a character."""

    def __init__(self) -> None:
        self._buffer = b""
        self._after_cr = False  # the last piece ended in CR, to which an LF at the start of the next one belongs

    def feed(self, piece: bytes) -> Iterator[str]:
        """Yields the data of each event that this piece completes."""
        if self._after_cr:
            piece = piece.removeprefix(b"\n") if piece else piece
        self._after_cr = piece.endswith(b"\r") or (self._after_cr and not piece)
        self._buffer += piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        while (end := self._buffer.find(b"\n\n")) >= 0:
            block, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
            if data := _joined_data(block):
                yield data

    def ended_with_done(self) -> bool:
        """True if the stream's last line is `data: [DONE]` without the empty line that belongs after it.

        The standard drops an event that is not completed, but some servers end their streams so.
        """
        return _joined_data(self._buffer) == DONE


def events(pieces: Iterable[tuple[float, bytes]]) -> Iterator[Event]:
    """Decodes pieces of a response body, each with the time at which it was received."""
    decoder = EventDecoder()
    received = 0.0
    for received, piece in pieces:
        for data in decoder.feed(piece):
            yield Event(received, _parsed(data))
    if decoder.ended_with_done():
        yield Event(received, DONE)


async def live_events(
    pieces: AsyncIterable[bytes], clock: Callable[[], float] = time.perf_counter
) -> AsyncIterator[Event]:
    """Decodes a response body while it arrives: `live_events(response.aiter_bytes())`.

    The clock is read once for each piece, when it arrives; its unit is the unit of `Event.time`.
    """
    decoder = EventDecoder()
    received = clock()
    async for piece in pieces:
        received = clock()
        for data in decoder.feed(piece):
            yield Event(received, _parsed(data))
    if decoder.ended_with_done():
        yield Event(received, DONE)


async def completion_chunks(
    pieces: AsyncIterable[bytes], clock: Callable[[], float] = time.perf_counter
) -> AsyncIterator[Event]:
    """Decodes the chunks of a chat completion up to `[DONE]`, which is left out; `data` is always a JSON object.

    Raises StreamError for an event that is not a JSON object, for one with an `error`, and if the stream ends
    before `[DONE]`. An `error` of null is none.
    """
    async for event in live_events(pieces, clock):
        if event.data == DONE:
            return
        if UNREADABLE in event.data:
            raise StreamError(f"in the stream: no JSON, {event.data[UNREADABLE]:.80}")
        if has_error(event.data):
            raise StreamError(f"in the stream: {event.data['error']}")
        yield event
    raise StreamError("the stream was cut off")


def has_error(data: dict[str, Any]) -> bool:
    """True if an event reports an error; some servers write `"error": null` into each event."""
    return data.get("error") is not None


def _joined_data(block: bytes) -> str:
    lines = block.decode("utf-8", "replace").split("\n")
    return "\n".join(line[5:].removeprefix(" ") for line in lines if line.startswith("data:"))


def _parsed(data: str) -> Any:
    if data == DONE:
        return DONE
    try:
        parsed = json.loads(data)
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {UNREADABLE: data[:EXCERPT]}
