"""Calls are found in an answer however it is cut into pieces, and what is no call is text."""

import pytest

from llava_interleave_serve.server.engine.tool_calls.call_reader import Arguments, CallReader, CallStart, Text

Call = tuple[str, str]
ARGUMENTS = '{"a": "}\\"{</tool_call>", "b": [1, {"c": 2}]}'
CALL = f'<tool_call>\n{{"name": "f", "arguments": {ARGUMENTS}}}\n</tool_call>'
OTHER = CALL.replace('"f"', '"g"')
F, G = ("f", ARGUMENTS), ("g", ARGUMENTS)


def read(answer: str, size: int, *, names: str = "fg", is_forced: bool = False) -> tuple[str, list[Call]]:
    """The text and the calls of an answer that comes in pieces of so many characters."""
    reader = CallReader(frozenset(names), is_forced=is_forced)
    text, calls = "", []
    events = [event for at in range(0, len(answer), size) for event in reader.feed(answer[at : at + size])]
    for event in [*events, *reader.end()]:
        match event:
            case Text(piece):
                text += piece
            case CallStart(name):
                calls.append((name, ""))
            case Arguments(piece):
                calls[-1] = calls[-1][0], calls[-1][1] + piece
    return text, calls


ANSWERS: list[tuple[str, str, list[Call]]] = [
    ("A red star.", "A red star.", []),
    ("  a <tool", "  a <tool", []),
    ("\n", "\n", []),
    (CALL, "", [F]),
    ("\n\n" + CALL, "", [F]),
    ('  <tool_call>{"name": "f", "arguments": {}}', "", [("f", "{}")]),
    ("I look. " + CALL + "\n" + OTHER + "\nSo.", "I look. So.", [F, G]),
    ("<tool_call> begins a call", "<tool_call> begins a call", []),
    ("<tool_call>", "<tool_call>", []),
    ('<tool_call>{"na', '<tool_call>{"na', []),
    ("<tool_call>{a}</tool_call>" + CALL, "<tool_call>{a}</tool_call>", [F]),
    ("<tool_call>" + CALL, "<tool_call>", [F]),
    (CALL.replace('"f"', '"h"'), CALL.replace('"f"', '"h"'), []),
    ('<tool_call>["f", {}]</tool_call>', '<tool_call>["f", {}]</tool_call>', []),
    ('<tool_call>{"name":"f","arguments":"x"}</tool_call>', '<tool_call>{"name":"f","arguments":"x"}</tool_call>', []),
    ('<tool_call>{"arguments": {"name": "g"}, "name": "f"}</tool_call>', "", [("f", '{"name": "g"}')]),
    ('<tool_call>{"name": "f"}</tool_call>', "", [("f", "{}")]),
    ('<tool_call>{"name": "\\u0066", "arguments": {}}', "", [("f", "{}")]),
    ('<tool_call>{"name": "f", "arguments": {"a": 1', "", [("f", '{"a": 1')]),
    ('<tool_call>{"name": "f", "arguments": {"a": oops}}</tool_call>', "", [("f", '{"a": oops}')]),
    ('<tool_call>{"name": "f", "arguments": {}} and more', "and more", [("f", "{}")]),
    ("<tool_call>{" * 100 + "</tool_call>" + CALL + OTHER, "<tool_call>{" * 100 + "</tool_call>", [F, G]),
    ("<tool_call>{</tool_call>" * 20 + CALL, "<tool_call>{</tool_call>" * 20, [F]),
    ("<tool_call>" + " " * 80 + '{"name":"f"}</tool_call>', "<tool_call>" + " " * 80 + '{"name":"f"}</tool_call>', []),
    ("<tool_call>" + " " * 60 + '{"name": "f"}</tool_call>', "", [("f", "{}")]),
    (" " * 200 + CALL + " " * 200 + "So." + " " * 200, "So." + " " * 200, [F]),
    ('<tool_call>{"name": "f", "arguments": {}' + " " * 90 + "}" + " " * 90 + "</tool_call>So.", "So.", [("f", "{}")]),
    ("<tool_call>" + "[" * 3000 + "</tool_call>", "<tool_call>" + "[" * 3000 + "</tool_call>", []),
    ('<tool_call>{"a":' + "[" * 3000 + "</tool_call>", '<tool_call>{"a":' + "[" * 3000 + "</tool_call>", []),
]  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 10**6])
@pytest.mark.parametrize(("answer", "text", "calls"), ANSWERS, ids=lambda value: str(value)[:50])
def test_calls_are_found_however_the_answer_is_cut(answer: str, text: str, calls: list[Call], size: int) -> None:
    assert read(answer, size) == (text, calls)


@pytest.mark.parametrize("size", [1, 3, 10**6])
@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        ('{"name":"g","arguments":{"a":1}}', [("g", '{"a":1}')]), ('{"arguments":{},"name":"f"}', [("f", "{}")]),
        ('{"name":"f","arguments":{"a":', [("f", '{"a":')]), ('{"na', []), ("", []),
    ],
)  # fmt: skip
def test_a_forced_call_of_several_tools_is_the_object_of_name_and_arguments(
    answer: str, calls: list[Call], size: int
) -> None:
    assert read(answer, size, is_forced=True) == ("", calls)


@pytest.mark.parametrize("size", [1, 3, 10**6])
@pytest.mark.parametrize(
    ("answer", "calls"), [(ARGUMENTS, [F]), ("{}\n", [("f", "{}")]), ('{"a', [("f", '{"a')]), ("", []), (" ", [])]
)
def test_a_forced_call_of_one_tool_is_its_arguments(answer: str, calls: list[Call], size: int) -> None:
    assert read(answer, size, names="f", is_forced=True) == ("", calls)


def test_the_pieces_of_a_call_are_told_as_they_come() -> None:
    reader = CallReader(frozenset("f"), is_forced=False)
    pieces = ["Well. <tool", "_call>", '{"name": "f", "argu', 'ments": {"a"', ": 1", "}}</tool_call>"]
    assert [list(reader.feed(piece)) for piece in pieces] == [
        [Text("Well. ")], [], [], [CallStart("f"), Arguments('{"a"')], [Arguments(": 1")], [Arguments("}")],
    ]  # fmt: skip


def test_a_name_that_does_not_end_is_not_searched_again_and_again() -> None:
    reader = CallReader(frozenset("f"), is_forced=False)
    assert list(reader.feed('<tool_call>{"name": "' + "x" * 10_000)) == []
    assert list(reader.feed('</tool_call>"')) == [
        Text("<tool_call>"),
        Text('{"name": "' + "x" * 10_000 + '</tool_call>"'),
    ]
