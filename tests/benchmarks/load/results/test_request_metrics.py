"""Metrics of a request are computed from event times made by hand."""

import pytest

from llava_interleave_serve.benchmarks.load.results import request_metrics
from llava_interleave_serve.benchmarks.openai_api import sse
from tests.support.load.exchanges import ask, delta, event, exchange

ROLE = delta("", role="assistant")
USAGE = event({"choices": [], "usage": {"completion_tokens": 3, "prompt_tokens": 40}})
DONE = event("[DONE]")


def test_every_latency_counts_from_the_time_at_which_the_request_was_due() -> None:
    pieces = [
        (11.0, ROLE),
        (11.5, delta("A")),
        (11.75, delta("B")),
        (12.75, delta("C", "stop")),
        (12.75, USAGE),
        (13.0, DONE),
    ]
    metrics = request_metrics.compute(ask(), exchange(pieces))
    assert (metrics.lag, metrics.wait) == (0.25, 0.25)
    assert metrics.ttft == 1.5
    assert metrics.gaps == [0.25, 1.0]
    assert metrics.tpot == 0.625
    assert metrics.e2e == 3.0
    assert (metrics.tokens, metrics.prompt_tokens, metrics.answer, metrics.error) == (3, 40, "ABC", "")


def test_several_tokens_of_one_event_count_in_the_time_per_token() -> None:
    pieces = [(11.0, delta("A")), (12.0, delta("BC", "stop")), (12.0, USAGE), (12.0, DONE)]
    metrics = request_metrics.compute(ask(), exchange(pieces))
    assert (metrics.gaps, metrics.tpot) == ([1.0], 0.5)


def test_a_token_without_text_counts_as_a_token() -> None:
    pieces = [
        (11.0, ROLE),
        (11.5, delta("")),
        (12.0, delta("é")),
        (12.5, delta("", "stop")),
        (12.5, USAGE),
        (12.5, DONE),
    ]
    metrics = request_metrics.compute(ask(), exchange(pieces))
    assert metrics.ttft == 1.5
    assert metrics.gaps == [0.5, 0.5]  # the end of text is the third token that the server counts


def test_a_finish_reason_in_an_event_of_its_own_is_no_token() -> None:
    pieces = [
        (11.0, delta("A")),
        (11.5, delta("B")),
        (12.0, delta("C")),
        (14.0, delta("", "stop")),
        (14.0, USAGE),
        (14.0, DONE),
    ]
    assert request_metrics.compute(ask(), exchange(pieces)).gaps == [0.5, 0.5]


@pytest.mark.parametrize("empty", [{}, {"content": None}, {"role": "assistant"}, {"content": None, "tool_calls": None}])
@pytest.mark.parametrize("has_usage", [True, False])
def test_an_event_without_even_an_empty_text_is_no_token(empty: dict[str, object], *, has_usage: bool) -> None:
    nothing = event({"choices": [{"delta": empty, "finish_reason": None}]})
    usage = event({"choices": [], "usage": {"completion_tokens": 2}})
    pieces = [(10.1, ROLE), (10.2, nothing), (11.0, delta("a")), (11.5, nothing), (12.0, delta("b", "stop"))]
    pieces += [(12.1, delta(None, "stop")), *([(12.1, usage)] if has_usage else []), (12.1, DONE)]
    metrics = request_metrics.compute(ask(), exchange(pieces))
    assert (metrics.ttft, metrics.gaps, metrics.tpot, metrics.tokens) == (1.0, [1.0], 1.0, 2)


def test_an_empty_text_before_the_first_is_no_token_unless_the_usage_counts_it() -> None:
    pieces = [(10.1, delta("")), (10.2, delta("")), (11.0, delta("a")), (12.0, delta("b", "stop"))]
    without_usage = request_metrics.compute(ask(), exchange([*pieces, (12.0, DONE)]))
    assert (without_usage.ttft, without_usage.tokens) == (1.0, 2)
    with_usage = request_metrics.compute(ask(), exchange([*pieces, (12.0, USAGE), (12.0, DONE)]))
    assert with_usage.ttft == pytest.approx(0.2)
    assert with_usage.tokens == 3


def test_an_error_of_null_in_a_stream_is_none() -> None:
    text = {"choices": [{"delta": {"content": "A"}, "finish_reason": "stop"}], "error": None}
    assert request_metrics.compute(ask(), exchange([(11.0, event(text)), (11.0, DONE)])).error == ""


def test_events_are_counted_as_tokens_if_the_usage_is_missing() -> None:
    pieces = [(11.0, delta("A")), (12.0, delta("B", "length")), (12.0, DONE)]
    metrics = request_metrics.compute(ask(), exchange(pieces))
    assert (metrics.tokens, metrics.prompt_tokens) == (2, None)


def test_the_time_of_an_event_is_that_of_its_last_byte() -> None:
    whole = delta("A") + delta("B", "stop") + DONE
    pieces = [(11.0, whole[:20]), (12.0, whole[20:90]), (13.0, whole[90:])]
    assert [event.time for event in sse.events(pieces)] == [12.0, 13.0, 13.0]


def test_comments_and_other_line_endings_of_a_stream_are_understood() -> None:
    pieces = [(1.0, b': a comment\n\nevent: x\r\ndata: {"a": 1}\r\n\r\ndata:[DONE]\n\n')]
    assert [event.data for event in sse.events(pieces)] == [{"a": 1}, "[DONE]"]


def test_line_endings_of_a_stream_cut_in_two_are_understood() -> None:
    whole = b'data: {"a": 1}\r\n\r\ndata: {"a": 2}\r\n\r\n'
    for cut in range(1, len(whole)):
        pieces = [(1.0, whole[:cut]), (2.0, whole[cut:])]
        assert [event.data for event in sse.events(pieces)] == [{"a": 1}, {"a": 2}]


def test_a_stream_that_ends_early_is_an_error_with_a_first_token() -> None:
    metrics = request_metrics.compute(ask(), exchange([(11.0, delta("A")), (12.0, delta("B"))]))
    assert metrics.error == "the stream ended early"
    assert (metrics.ttft, metrics.e2e) == (1.0, None)


def test_a_request_whose_connection_breaks_keeps_the_reason() -> None:
    metrics = request_metrics.compute(ask(), exchange([(11.0, delta("A"))], failure="broken off (ReadError)"))
    assert metrics.error == "broken off (ReadError)"


def test_an_error_in_a_stream_is_named() -> None:
    pieces = [(11.0, delta("A")), (12.0, event({"error": {"code": "engine_dead"}})), (12.0, DONE)]
    assert request_metrics.compute(ask(), exchange(pieces)).error == "in the stream: engine_dead"


def test_an_answer_without_a_token_is_an_error() -> None:
    assert request_metrics.compute(ask(), exchange([(11.0, ROLE), (12.0, DONE)])).error == "an answer without a token"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error": {"code": "rate_limited", "type": "x"}}', "429 rate_limited"),
        (b'{"error": {"type": "overloaded", "code": null}}', "429 overloaded"),
        (b'{"error": "busy"}', "429 busy"),
        (b"<html>", "429"),
    ],
)
def test_a_refusal_is_named_by_status_and_code(body: bytes, error: str) -> None:
    refused = exchange([(11.0, body)], status=429, headers={"retry-after": "5"})
    metrics = request_metrics.compute(ask(), refused)
    assert (metrics.error, metrics.retry_after, metrics.ttft) == (error, "5", None)


def test_a_request_that_was_never_answered_keeps_the_reason() -> None:
    metrics = request_metrics.compute(ask(), exchange([], status=None, failure="no connection"))
    assert (metrics.error, metrics.ttft, metrics.e2e) == ("no connection", None, None)


def test_visual_tokens_and_phases_reported_by_the_server_are_taken_over() -> None:
    media = {"visual_tokens": 147, "parts": [{"type": "video_url", "visuals": 2}, {"type": "image_url", "visuals": 1}]}
    last = event({"choices": [], "server_timing": {"decode": 2000, "prefill": 250.0}})
    pieces = [(11.0, event({"choices": [{"delta": {"content": "A"}, "finish_reason": "stop"}], "media_usage": media}))]
    metrics = request_metrics.compute(
        ask(), exchange([*pieces, (11.0, last), (11.0, DONE)], headers={"server-timing": "fetch;dur=500"})
    )
    assert (metrics.visual_tokens, metrics.frames, metrics.images) == (147, 2, 1)
    assert metrics.phases == {"fetch": 0.5, "decode": 2.0, "prefill": 0.25}


@pytest.mark.parametrize(
    ("header", "phases"),
    [
        ("", {}),
        ("fetch;dur=12.5, decode;dur=3", {"fetch": 0.0125, "decode": 0.003}),
        ('a;desc="x, y; dur=9";dur=1000, b', {"a": 1.0}),
        ("a;dur=soon, b; dur=2000 ;desc=c", {"b": 2.0}),
    ],
)
def test_server_timing_is_read_as_browsers_read_it(header: str, phases: dict[str, float]) -> None:
    assert request_metrics.parse_server_timing(header) == phases
