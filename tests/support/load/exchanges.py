"""Requests and what they met with, made by hand."""

import json
from typing import Any

from llava_interleave_serve.benchmarks.load.client.sender import RawResponse
from llava_interleave_serve.benchmarks.load.requests.messages import Message, Text, Turn
from llava_interleave_serve.benchmarks.load.requests.schedule import ScheduledRequest
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass, Workload

KIND = RequestClass(name="a", kind="text")
WORK = Workload(name="w", classes=(KIND,))


def ask(
    number: int = 0, kind: RequestClass = KIND, right: str | None = None, session: str | None = None
) -> ScheduledRequest:
    """A request due `number` seconds after the start; of a session of its own unless that is given."""
    turn = Turn((Message("user", (Text("?"),)),), 9, right)
    session = f"session-{number}" if session is None else session
    return ScheduledRequest(number, kind, number, 0, float(number), turn, session=session)


def event(data: dict[str, Any] | str) -> bytes:
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def delta(content: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    text = {} if content is None else {"content": content}
    return event({"choices": [{"delta": text | more, "finish_reason": finish}]})


def exchange(chunks: list[tuple[float, bytes]], *, due: float = 10.0, **fields: Any) -> RawResponse:
    """An answered request: due at 10 s, begun a quarter of a second late, sent another quarter later."""
    ended = fields.pop("ended", chunks[-1][0] if chunks else due + 1)
    return RawResponse(
        0,
        due,
        started=due + 0.25,
        sent=due + 0.5,
        status=fields.pop("status", 200),
        chunks=chunks,
        ended=ended,
        **fields,
    )


def record(**fields: Any) -> RequestMetrics:
    """An answered request of a second, its first token after half of it."""
    made: dict[str, Any] = {
        "number": 0,
        "name": "a",
        "conversation": 0,
        "turn": 0,
        "repeat": "",
        "due": 0.0,
        "lag": 0.0,
    }
    measured = {"ttft": 0.5, "e2e": 1.0, "tpot": 0.1, "gaps": [0.1], "tokens": 2}
    return RequestMetrics(**(made | measured | fields))
