"""Per-request metrics (TTFT, TPOT, ...), computed from the raw response."""

import itertools
import json
import re
from dataclasses import dataclass, field
from typing import Any

from llava_interleave_serve.benchmarks.load.client.sender import RawResponse
from llava_interleave_serve.benchmarks.load.requests.schedule import ScheduledRequest
from llava_interleave_serve.benchmarks.load.results.report_model import CONFIG, Seconds
from llava_interleave_serve.benchmarks.openai_api import sse

SUCCESS = 200
VIDEO_PARTS = ("video_url", "video_frames")  # content parts whose visuals are counted as frames
TEXT_FIELDS = ("content", "reasoning_content")  # of a delta
CODE_LENGTH = 80  # characters of a server's error code that a report keeps


@dataclass
class RequestMetrics:
    """Metrics of one request. A latency that a failed request did not reach is None.

    `checks` fills in `left_out`, `same` and `right`, and `visual_tokens` where the server does not report them.
    """

    __pydantic_config__ = CONFIG

    number: int
    """Number of the request in the schedule."""
    name: str
    """Name of its request class."""
    conversation: int
    """Number of its conversation."""
    turn: int
    """Index of its turn in the conversation, from 0."""
    due: Seconds
    """Time at which the schedule wanted it sent, from the start of the run. Latencies count from here."""
    lag: Seconds
    """Delay of the load generator: from `due` until it began to send the request."""
    repeat: str = ""
    """Kind of repeat of an earlier request's media (exact, question, order, sliding), or empty if they are new."""
    wait: Seconds | None = None
    """Time from then until its first byte was sent: the wait for a connection."""
    ttft: Seconds | None = None
    """Time to first token, from `due`."""
    e2e: Seconds | None = None
    """Time to the end of the answer, from `due`; None if the answer is not whole."""
    tpot: Seconds | None = None
    """Mean time per output token after the first; None if the answer has only one, or came in one event."""
    gaps: list[Seconds] = field(default_factory=list)
    """Times between successive events that brought tokens: its inter-token latencies (ITL)."""
    tokens: int = 0
    """Tokens of the answer as the server counts them, or else the events that brought tokens."""
    prompt_tokens: int | None = None
    """Tokens of the prompt, if the server reports them."""
    images: int = 0
    """Images and camera views of the request."""
    frames: int = 0
    """Video frames of the request."""
    visual_tokens: int | None = None
    """Tokens that the images and frames became, if the server reports them, or an estimate."""
    phases: dict[str, Seconds] = field(default_factory=dict)
    """Time by phase, as the server reports it."""
    error: str = ""
    """Reason that there is no whole answer, or empty. A refusal is `status code`."""
    retry_after: str | None = None
    """Value of the response's Retry-After header."""
    answer: str = ""
    """Text of the answer."""
    left_out: str = ""
    """Reason that the request counts in no aggregate (checks.WARM_UP, checks.SENT_ALONE), or empty."""
    same: bool | None = None
    """True if the answer equals the one to the same request sent alone; None if that is not known."""
    right: bool | None = None
    """True if the answer is the known right one; None if none is known."""

    @property
    def ok(self) -> bool:
        """True if the answer is whole."""
        return not self.error

    @property
    def end(self) -> float:
        """End of the answer in seconds from the start of the run; of a failed request, the time it was due."""
        return self.due + (self.e2e or 0.0)


def compute(request: ScheduledRequest, response: RawResponse) -> RequestMetrics:
    """Computes the metrics of a request from the timestamps and bytes of its response."""
    metrics = RequestMetrics(
        number=request.number,
        name=request.request_class.name,
        conversation=request.conversation,
        turn=request.turn,
        repeat=request.repeat,
        due=response.due,
        lag=response.started - response.due,
        wait=None if response.sent is None else response.sent - response.started,
        images=request.images,
        frames=request.frames,
        phases=parse_server_timing(response.headers.get("server-timing", "")),
        retry_after=response.headers.get("retry-after"),
        error=response.failure,
    )
    if response.status is not None and response.status != SUCCESS:
        metrics.error = f"{response.status} {_error_code(b''.join(data for _, data in response.chunks))}".strip()
    elif response.status is not None:
        _read_stream(metrics, response)
    return metrics


class _TokenEvents:
    """Collects the events of a stream that brought tokens, with their times and texts."""

    def __init__(self) -> None:
        self._texts: list[tuple[float, str]] = []
        self._blanks: list[tuple[float, str]] = []  # before the first text; each may have brought half a character

    def add(self, time: float, delta: dict[str, Any]) -> None:
        """Takes an event's delta. One without even an empty text, such as `{}`, brings no token."""
        texts = [delta[name] for name in TEXT_FIELDS if delta.get(name) is not None]
        if any(texts) or (texts and self._texts):
            self._texts.append((time, "".join(texts)))
        elif texts and "role" not in delta:  # the first event of a stream may bring its role and no token
            self._blanks.append((time, ""))

    def found(self, tokens: int) -> list[tuple[float, str]]:
        """Returns the time and text of each event that brought a token; `tokens`: the server's count, or 0."""
        texts = self._texts
        if len(texts) < tokens and self._blanks:
            return self._blanks[len(texts) - tokens :] + texts
        if len(texts) > tokens > 0 and not texts[-1][1]:
            return texts[:-1]  # an event of its own for the finish reason brings no token
        return texts


def _read_stream(metrics: RequestMetrics, response: RawResponse) -> None:
    """Fills in what the events of a streamed answer bring."""
    token_events, finished = _TokenEvents(), False
    for event in sse.events(response.chunks):
        if event.data == sse.DONE:
            finished = True
            continue
        _read_server_counts(metrics, event.data)
        if sse.has_error(event.data) or sse.UNREADABLE in event.data:
            metrics.error = metrics.error or f"in the stream: {_error_code(json.dumps(event.data).encode())}"
        for choice in event.data.get("choices") or []:
            finished = finished or choice.get("finish_reason") is not None
            token_events.add(event.time, choice.get("delta") or {})
    found = token_events.found(metrics.tokens)
    if not finished:
        metrics.error = metrics.error or "the stream ended early"
    elif not found:
        metrics.error = metrics.error or "an answer without a token"
    metrics.answer = "".join(text for _, text in found)
    _set_latencies(metrics, [time for time, _ in found])
    if metrics.ok:
        metrics.e2e = response.ended - metrics.due


def _set_latencies(metrics: RequestMetrics, times: list[float]) -> None:
    if not times:
        return
    metrics.ttft = times[0] - metrics.due
    metrics.gaps = [after - before for before, after in itertools.pairwise(times)]
    metrics.tokens = metrics.tokens or len(times)
    if len(times) > 1 and metrics.tokens > 1:
        metrics.tpot = (times[-1] - times[0]) / (metrics.tokens - 1)


def _read_server_counts(metrics: RequestMetrics, data: dict[str, Any]) -> None:
    """Fills in what an event reports of the server's own counts: tokens, visuals and phases."""
    usage = data.get("usage") or {}
    metrics.tokens = usage.get("completion_tokens") or metrics.tokens
    metrics.prompt_tokens = usage.get("prompt_tokens", metrics.prompt_tokens)
    timing = data.get("server_timing")
    if isinstance(timing, dict):
        milliseconds = {name: value for name, value in timing.items() if isinstance(value, int | float)}
        metrics.phases |= {str(name): value / 1000 for name, value in milliseconds.items()}
    media = data.get("media_usage")
    if isinstance(media, dict) and isinstance(media.get("visual_tokens"), int):
        metrics.visual_tokens = media["visual_tokens"]
        parts = [part for part in media.get("parts", []) if isinstance(part, dict)]
        metrics.frames = sum(part["visuals"] for part in parts if part["type"] in VIDEO_PARTS)
        metrics.images = sum(part["visuals"] for part in parts if part["type"] not in VIDEO_PARTS)


def parse_server_timing(header: str) -> dict[str, float]:
    """Parses a `Server-Timing` header, such as `fetch;dur=12.5, decode;desc="a, b";dur=3`, to seconds by name.

    Entries without a duration are left out (https://www.w3.org/TR/server-timing/).
    """
    durations = {}
    for entry in re.findall(r'(?:[^,"]|"(?:\\.|[^"\\])*")+', header):
        name, *parameters = (piece.strip() for piece in entry.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            try:
                if key.strip().lower() == "dur":
                    durations[name] = float(value.strip().strip('"')) / 1000
            except ValueError:
                continue
    return durations


def _error_code(body: bytes) -> str:
    """The code of an error in the body of a response, or else its type; empty if the body holds neither."""
    try:
        error = json.loads(body).get("error")
        code = error if isinstance(error, str) else error.get("code") or error.get("type")
    except (ValueError, AttributeError):
        return ""
    return str(code or "")[:CODE_LENGTH]
