"""Reads the calls of tools in an answer, piece by piece as the model writes it; what is no call is text.

A call is a JSON object of a known `name` and of `arguments`, an object, behind `<tool_call>`. It has begun with the
brace of its arguments: what the model writes from there to the matching one are the arguments, valid or not.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from llava_interleave_serve.server.engine.tool_calls.hermes_format import CALL_END, CALL_START

# The usual beginning of a call, up to the brace of its arguments. Its repetitions are bounded, since each piece of the
# answer has it tried again.
HEAD = re.compile(
    r'\s{0,64}\{\s{0,64}"name"\s{0,64}:\s{0,64}("(?:[^"\\]|\\.){0,768}")\s{0,64},\s{0,64}"arguments"\s{0,64}:\s{0,64}(?=\{)'
)
STRUCTURAL = re.compile(r'["\\{}\[\]]')
NO_OBJECT = re.compile(r"\s*[^\s{]")  # the beginning of what is no object


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is no part of a call."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """The name of a call, before its arguments."""

    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """A piece of the JSON text of the last call's arguments."""

    text: str


Event = Text | CallStart | Arguments


class _State(Enum):
    TEXT = auto()
    HEAD = auto()  # behind CALL_START, before the arguments
    ARGUMENTS = auto()
    TAIL = auto()  # behind the arguments, before CALL_END


class CallReader:
    """Reads one answer.

    names: of the tools that may be called. is_forced: True if the answer is one call without its tags, and
    where there is one tool, the call's arguments alone.
    """

    def __init__(self, names: frozenset[str], *, is_forced: bool) -> None:
        self._names, self._is_forced = names, is_forced
        self._only = next(iter(names)) if is_forced and len(names) == 1 else None
        self._state = _State.HEAD if is_forced else _State.TEXT
        self._held = ""
        self._searched = 0  # characters of what is held, of the state HEAD, that hold no CALL_END
        self._depth, self._in_string, self._is_escaped = 0, False, False
        self._space = ""  # white space at the beginning of the answer or behind a call, which is text if text follows
        self._begins, self._is_behind_call = True, False

    def feed(self, piece: str) -> Iterator[Event]:
        """Yields what has become certain with the piece; what could be the beginning of a call is held."""
        self._held += piece
        state = None
        while state != (self._state, len(self._held)):
            state = self._state, len(self._held)
            match self._state:
                case _State.TEXT:
                    yield from self._read_text()
                case _State.HEAD:
                    yield from self._read_head()
                case _State.ARGUMENTS:
                    yield from self._read_arguments()
                case _State.TAIL:
                    self._read_tail()

    def end(self) -> Iterator[Event]:
        """Yields what is left when the answer has ended: a call without its last tag, or text."""
        call = self._whole_call(self._held) if self._state is _State.HEAD else None
        if call is not None:
            yield from call
        elif self._state is _State.TEXT:
            yield from self._text(self._held)
        elif self._state is _State.HEAD and not self._is_forced:
            yield from self._text(CALL_START + self._held)
        if self._state is _State.TEXT and self._begins and not self._is_behind_call and self._space:
            yield Text(self._space)
        self._held = ""

    def _read_text(self) -> Iterator[Event]:
        start = self._held.find(CALL_START)
        if start >= 0:
            yield from self._text(self._held[:start])
            self._held, self._state, self._searched = self._held[start + len(CALL_START) :], _State.HEAD, 0
            return
        certain = len(self._held) - _overlap(self._held, CALL_START)
        text, self._held = self._held[:certain], self._held[certain:]
        yield from self._text(text)

    def _read_head(self) -> Iterator[Event]:
        if self._only is not None:
            self._held = self._held.lstrip()
            if self._held:
                yield CallStart(self._only)
                self._state = _State.ARGUMENTS
            return
        match = HEAD.match(self._held)
        name = _string(match[1]) if match is not None else None
        if match is not None and name in self._names:
            yield CallStart(name)
            self._held, self._state = self._held[match.end() :], _State.ARGUMENTS
            return
        if self._is_forced:
            return
        end = self._held.find(CALL_END, self._searched)
        self._searched = max(0, len(self._held) - len(CALL_END))
        if end < 0 and match is None and not NO_OBJECT.match(self._held):
            return
        call = self._whole_call(self._held[:end]) if end >= 0 and match is None else None
        if call is None:
            yield from self._text(CALL_START)  # behind which another may begin a call
            self._state = _State.TEXT
            return
        yield from call
        self._end_call(self._held[end + len(CALL_END) :])

    def _whole_call(self, written: str) -> tuple[Event, Event] | None:
        """The call that the JSON text is; None if it is none. The order of its members does not matter."""
        try:
            call = json.loads(written)
        except (ValueError, RecursionError):
            return None
        if not isinstance(call, dict):
            return None
        name, arguments = call.get("name"), call.get("arguments", {})
        if not isinstance(name, str) or name not in self._names or not isinstance(arguments, dict):
            return None
        return CallStart(name), Arguments(json.dumps(arguments, ensure_ascii=False))

    def _read_arguments(self) -> Iterator[Event]:
        end = self._end_of_arguments()
        if end > 0:
            yield Arguments(self._held[:end])
        self._held = self._held[end:]
        if end and self._depth == 0:
            self._state = _State.TAIL

    def _end_of_arguments(self) -> int:
        """The number of characters that are held of the arguments. Keeps the depth at their end."""
        position = 0
        while position < len(self._held):
            if self._is_escaped:
                self._is_escaped = False
                position += 1
                continue
            match = STRUCTURAL.search(self._held, position)
            if match is None:
                break
            position = match.end()
            character = match[0]
            if character == '"':
                self._in_string = not self._in_string
            elif character == "\\":
                self._is_escaped = self._in_string
            elif not self._in_string:
                self._depth += 1 if character in "{[" else -1
                if self._depth == 0:
                    return position
        return len(self._held)

    def _read_tail(self) -> None:
        if self._is_forced:
            self._held = ""
            return
        rest = self._held.lstrip().removeprefix("}").lstrip()
        if rest.startswith(CALL_END):
            self._end_call(rest.removeprefix(CALL_END))
        elif rest and not CALL_END.startswith(rest):
            self._end_call(rest)

    def _end_call(self, rest: str) -> None:
        self._held, self._state = rest, _State.TEXT
        self._space, self._begins, self._is_behind_call = "", True, True

    def _text(self, text: str) -> Iterator[Event]:
        if self._begins:
            text, self._space = self._space + text, ""
            if not text or text.isspace():
                self._space = text
                return
            self._begins = False
            text = text.lstrip() if self._is_behind_call else text
        if text:
            yield Text(text)


def _string(written: str) -> str:
    """The text of a JSON string; empty if it is none."""
    try:
        value = json.loads(written)
    except ValueError:
        return ""
    return value if isinstance(value, str) else ""


def _overlap(text: str, tag: str) -> int:
    """The number of characters at the text's end with which the tag could begin."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:size])), 0)
