"""The events of an answer, each with the time it came."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class Event:
    """One `data:` of a stream. `data` is its JSON, or the text [DONE]; what is neither is {"unreadable": text}."""

    time: float
    data: Any


def events(pieces: list[tuple[float, bytes]]) -> Iterator[Event]:
    """Server-sent events, each with the time of the piece that completed it. Comments and other fields are skipped."""
    buffer = b""
    for time, piece in pieces:
        buffer = (buffer + piece).replace(b"\r\n", b"\n")
        while (end := buffer.find(b"\n\n")) >= 0:
            block, buffer = buffer[:end], buffer[end + 2 :]
            lines = block.decode("utf-8", "replace").split("\n")
            data = "\n".join(line[5:].removeprefix(" ") for line in lines if line.startswith("data:"))
            if data:
                yield Event(time, data if data == DONE else _decoded(data))


def _decoded(data: str) -> Any:
    try:
        decoded = json.loads(data)
    except ValueError:
        return {"unreadable": data[:200]}
    return decoded if isinstance(decoded, dict) else {"unreadable": data[:200]}
