"""One decoder reads server-sent events, both while they arrive and afterwards."""

import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

from llava_interleave_serve.benchmarks.openai_api import sse
from llava_interleave_serve.benchmarks.openai_api.sse import DONE, Event, StreamError

pytestmark = pytest.mark.anyio
CHUNK = {"choices": [{"delta": {"content": "é"}}]}
WHOLE = f"data: {json.dumps(CHUNK, ensure_ascii=False)}\n\n: a comment\n\ndata: [DONE]\n\n".encode()


async def arriving(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def counting() -> Callable[[], float]:
    ticks = iter(range(100))
    return lambda: float(next(ticks))


def offline(*pieces: bytes) -> list[Event]:
    return list(sse.events((float(number), piece) for number, piece in enumerate(pieces, start=1)))


async def live(*pieces: bytes) -> list[Event]:
    return [event async for event in sse.live_events(arriving(pieces), counting())]


async def chunks(*pieces: bytes) -> list[Any]:
    return [event.data async for event in sse.completion_chunks(arriving(pieces))]


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
async def test_an_event_stream_may_be_cut_into_pieces_anywhere(cut: int) -> None:
    read = offline(WHOLE[:cut], WHOLE[cut:])
    assert [event.data for event in read] == [CHUNK, DONE]
    assert await live(WHOLE[:cut], WHOLE[cut:]) == read


async def test_an_event_has_the_time_of_the_piece_that_completes_it() -> None:
    pieces = (b'data: {"a"', b": 1}\n", b'\ndata: {"b": 2}\n\ndata: [DONE]\n\n')
    expected = [Event(3.0, {"a": 1}), Event(3.0, {"b": 2}), Event(3.0, DONE)]
    assert offline(*pieces) == expected
    assert await live(*pieces) == expected  # the clock's tick 0 is the start


def test_several_data_lines_of_an_event_are_joined_as_the_standard_says() -> None:
    (event,) = offline(b'data: {"a":\ndata: 1}\n\n')
    assert event.data == {"a": 1}


def test_event_lines_may_end_in_cr_lf_even_if_cut_between_the_two() -> None:
    read = offline(b'id: 7\r\nevent: x\r\ndata:{"a": 1}\r', b"\n\r\ndata: [DONE]\r\n\r\n")
    assert [event.data for event in read] == [{"a": 1}, DONE]


def test_event_lines_may_end_in_cr_alone() -> None:
    pieces = [b'data: {"a":\r', b"data: 1}\r", b"\rdata: ", b"[DONE]\r\r"]
    assert [event.data for event in offline(*pieces)] == [{"a": 1}, DONE]
    assert [event.data for event in offline(b"".join(pieces))] == [{"a": 1}, DONE]
    assert [event.data for event in offline(*[bytes([byte]) for byte in b"".join(pieces)])] == [{"a": 1}, DONE]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"])
async def test_a_separator_within_a_text_does_not_end_the_event(separator: str) -> None:
    """httpx ends lines at these."""
    piece = f'data: {{"a": "one{separator}two"}}\n\n'.encode()
    if separator >= "\x20":  # others are escaped in JSON
        assert [event.data for event in offline(piece)] == [{"a": f"one{separator}two"}]
        assert await chunks(piece, b"data: [DONE]\n\n") == [{"a": f"one{separator}two"}]
    else:
        assert len(offline(piece)) == 1


@pytest.mark.parametrize("data", ["no JSON", "3", '"text"', "[1]"])
async def test_event_data_that_is_no_json_object_is_unreadable(data: str) -> None:
    piece = f"data: {data}\n\n".encode()
    assert [event.data for event in offline(piece)] == [{"unreadable": data}]
    with pytest.raises(StreamError, match="in the stream: no JSON, "):
        await chunks(piece)


async def test_the_last_event_needs_its_empty_line_unless_it_is_done() -> None:
    assert offline(b'data: {"a": 1}\n') == []
    assert [event.data for event in offline(b"data: [DONE]\n")] == [DONE]
    assert [event.data for event in await live(b"data: [DONE]")] == [DONE]


async def test_a_complete_stream_is_decoded_to_its_chunks() -> None:
    assert await chunks(WHOLE) == [CHUNK]


async def test_events_after_done_are_not_read() -> None:
    assert await chunks(WHOLE, b"data: no JSON\n\n") == [CHUNK]


async def test_a_stream_without_done_was_cut_off() -> None:
    with pytest.raises(StreamError, match="cut off"):
        await chunks(WHOLE.partition(b": a comment")[0])


async def test_an_error_in_the_stream_is_raised() -> None:
    with pytest.raises(StreamError, match="the engine has died"):
        await chunks(b'data: {"error": {"message": "the engine has died"}}\n\n')


async def test_an_error_of_null_is_none() -> None:
    assert await chunks(b'data: {"a": 1, "error": null}\n\ndata: [DONE]\n\n') == [{"a": 1, "error": None}]
