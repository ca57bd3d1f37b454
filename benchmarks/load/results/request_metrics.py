"""One request's measures, read from what it met with."""

import itertools
import json
import re
from dataclasses import dataclass, field
from typing import Any

from llava_interleave_serve.benchmarks.load.client.sender import RawResponse
from llava_interleave_serve.benchmarks.load.requests.schedule import ScheduledRequest
from llava_interleave_serve.benchmarks.openai_api import sse

SUCCESS = 200
MEDIA_FRAMES = ("video_url", "video_frames")


@dataclass
class Record:
    """Times in seconds; latencies count from `due`. What a failed request did not reach is None.

    gaps: between the events that brought tokens. tokens: of the answer, as the server counts them, else events.
    images, frames: what the request showed. visual_tokens: what they became, if the server says. phases: seconds by
    name, as the server reports them. error: why there is no whole answer, or empty; refusals are `status code`.
    left_out: why the measures do not count (warm-up; asked before), or empty. same, right: whether the answer is what
    was said alone, and what is known to be right.
    """

    number: int
    name: str
    conversation: int
    turn: int
    repeat: str
    due: float
    lag: float
    wait: float | None = None
    ttft: float | None = None
    e2e: float | None = None
    tpot: float | None = None
    gaps: list[float] = field(default_factory=list)
    tokens: int = 0
    prompt_tokens: int | None = None
    images: int = 0
    frames: int = 0
    visual_tokens: int | None = None
    phases: dict[str, float] = field(default_factory=dict)
    error: str = ""
    retry_after: str | None = None
    answer: str = ""
    left_out: str = ""
    same: bool | None = None
    right: bool | None = None

    @property
    def ok(self) -> bool:
        return not self.error

    @property
    def end(self) -> float:
        """When its answer had ended, from the run's start; of a failed one, when it was due."""
        return self.due + (self.e2e or 0.0)


def read(ask: ScheduledRequest, exchange: RawResponse) -> Record:
    """The measures of one request."""
    record = Record(
        number=ask.number,
        name=ask.request_class.name,
        conversation=ask.conversation,
        turn=ask.turn,
        repeat=ask.repeat,
        due=exchange.due,
        lag=exchange.started - exchange.due,
        wait=None if exchange.sent is None else exchange.sent - exchange.started,
        images=ask.images,
        frames=ask.frames,
        phases=server_timing(exchange.headers.get("server-timing", "")),
        retry_after=exchange.headers.get("retry-after"),
        error=exchange.failure,
    )
    if exchange.status is not None and exchange.status != SUCCESS:
        record.error = f"{exchange.status} {_code(b''.join(piece for _, piece in exchange.chunks))}".strip()
    elif exchange.status is not None:
        _read_stream(record, exchange)
    return record


def _read_stream(record: Record, exchange: RawResponse) -> None:
    tokens: list[tuple[float, str]] = []  # when, and what it said
    finished = False
    for event in sse.events(exchange.chunks):
        if event.data == sse.DONE:
            finished = True
            continue
        _read_account(record, event.data)
        if "error" in event.data or "unreadable" in event.data:
            record.error = record.error or f"in the stream: {_code(json.dumps(event.data).encode())}"
        for choice in event.data.get("choices") or []:
            delta = choice.get("delta") or {}
            said = (delta.get("content") or "") + (delta.get("reasoning_content") or "")
            finished = finished or choice.get("finish_reason") is not None
            if said or "role" not in delta:  # the first event of a stream may bring its role and no token
                tokens.append((event.time, said))
    if len(tokens) > record.tokens > 0 and not tokens[-1][1]:
        tokens.pop()  # an end told in an event of its own
    if not finished:
        record.error = record.error or "the stream ended early"
    elif not tokens:
        record.error = record.error or "an answer without a token"
    record.answer = "".join(said for _, said in tokens)
    _read_times(record, [time for time, _ in tokens])
    if record.ok:
        record.e2e = exchange.ended - record.due


def _read_times(record: Record, times: list[float]) -> None:
    if not times:
        return
    record.ttft = times[0] - record.due
    record.gaps = [after - before for before, after in itertools.pairwise(times)]
    record.tokens = record.tokens or len(times)
    if len(times) > 1 and record.tokens > 1:
        record.tpot = (times[-1] - times[0]) / (record.tokens - 1)


def _read_account(record: Record, data: dict[str, Any]) -> None:
    """What the server itself counts: tokens, visuals, phases."""
    usage = data.get("usage") or {}
    record.tokens = usage.get("completion_tokens") or record.tokens
    record.prompt_tokens = usage.get("prompt_tokens", record.prompt_tokens)
    timing = data.get("server_timing")
    if isinstance(timing, dict):
        numbers = {name: ms for name, ms in timing.items() if isinstance(ms, int | float)}
        record.phases |= {str(name): ms / 1000 for name, ms in numbers.items()}
    media = data.get("media_usage")
    if isinstance(media, dict) and isinstance(media.get("visual_tokens"), int):
        record.visual_tokens = media["visual_tokens"]
        parts = [part for part in media.get("parts", []) if isinstance(part, dict)]
        record.frames = sum(part["visuals"] for part in parts if part["type"] in MEDIA_FRAMES)
        record.images = sum(part["visuals"] for part in parts if part["type"] not in MEDIA_FRAMES)


def server_timing(header: str) -> dict[str, float]:
    """Seconds by name, of a `Server-Timing` header: `fetch;dur=12.5, decode;desc="a, b";dur=3`."""
    found = {}
    for entry in re.findall(r'(?:[^,"]|"(?:\\.|[^"\\])*")+', header):
        name, *parameters = (piece.strip() for piece in entry.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            try:
                if key.strip().lower() == "dur":
                    found[name] = float(value.strip().strip('"')) / 1000
            except ValueError:
                continue
    return found


def _code(body: bytes) -> str:
    """What an error calls itself: its code, or else its type."""
    try:
        error = json.loads(body).get("error")
        code = error if isinstance(error, str) else error.get("code") or error.get("type")
    except (ValueError, AttributeError):
        return ""
    return str(code or "")[:80]
