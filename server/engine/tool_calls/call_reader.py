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
NO_OBJECT = re.compile(r"\s{0,64}+[^{]")  # the beginning of what is no object, or of one that comes too late
MOST_TRIED = 16  # tags of a beginning before one of an end: behind each, a call is looked for up to the end


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
        # What is held is read from `_at` on, and cut there once a piece: many tags would else be many copies of it.
        self._held, self._at = "", 0
        self._searched, self._tried = 0, 0  # where the search for CALL_END goes on; tags tried before that end
        self._depth, self._in_string, self._is_escaped = 0, False, False
        # White space at the beginning of the answer or behind a call, which is text if text follows.
        self._spaces: list[str] = []
        self._begins, self._is_behind_call = True, False

    def feed(self, piece: str) -> Iterator[Event]:
        """Yields what has become certain with the piece; what could be the beginning of a call is held."""
        self._held += piece
        state = None
        while state != (self._state, self._at):
            state = self._state, self._at
            match self._state:
                case _State.TEXT:
                    yield from self._read_text()
                case _State.HEAD:
                    yield from self._read_head()
                case _State.ARGUMENTS:
                    yield from self._read_arguments()
                case _State.TAIL:
                    self._read_tail()
        self._held, self._searched, self._at = self._held[self._at :], max(0, self._searched - self._at), 0

    def end(self) -> Iterator[Event]:
        """Yields what is left when the answer has ended: a call without its last tag, or text."""
        call = self._whole_call(self._held) if self._state is _State.HEAD else None
        if call is not None:
            yield from call
        elif self._state is _State.TEXT:
            yield from self._text(self._held)
        elif self._state is _State.HEAD and not self._is_forced:
            yield from self._text(CALL_START + self._held)
        if self._state is _State.TEXT and self._begins and not self._is_behind_call and self._spaces:
            yield Text("".join(self._spaces))
        self._held = ""

    def _read_text(self) -> Iterator[Event]:
        start = self._held.find(CALL_START, self._at)
        if start >= 0:
            yield from self._text(self._held[self._at : start])
            self._at, self._state = start + len(CALL_START), _State.HEAD
            return
        certain = max(self._at, len(self._held) - _overlap(self._held, CALL_START))
        text, self._at = self._held[self._at : certain], certain
        yield from self._text(text)

    def _read_head(self) -> Iterator[Event]:
        if self._only is not None:
            self._held, self._at = self._held[self._at :].lstrip(), 0
            if self._held:
                yield CallStart(self._only)
                self._state = _State.ARGUMENTS
            return
        match = HEAD.match(self._held, self._at)
        name = _string(match[1]) if match is not None else None
        if match is not None and name in self._names:
            yield CallStart(name)
            self._at, self._state = match.end(), _State.ARGUMENTS
            return
        if self._is_forced:
            return
        end = self._end_of_call()
        may_be_call = match is None and NO_OBJECT.match(self._held, self._at) is None
        if end < 0 and may_be_call:
            return
        call = self._whole_call(self._held[self._at : end]) if may_be_call else None
        if call is None:
            yield from self._text(CALL_START)  # behind which another may begin a call
            self._state, self._tried = _State.TEXT, self._tried + 1
            if end >= 0 and self._tried > MOST_TRIED:
                yield from self._text(self._held[self._at : end])
                self._at = end
            return
        yield from call
        self._end_call(end + len(CALL_END))

    def _end_of_call(self) -> int:
        """The place of the next CALL_END; -1 if there is none yet. What holds none is searched once."""
        end = self._held.find(CALL_END, max(self._at, self._searched))
        if end != self._searched:
            self._tried = 0
        self._searched = end if end >= 0 else max(0, len(self._held) - len(CALL_END))
        return end

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
        if end > self._at:
            yield Arguments(self._held[self._at : end])
        if end > self._at and self._depth == 0:
            self._state = _State.TAIL
        self._at = end

    def _end_of_arguments(self) -> int:
        """The place up to which what is held is of the arguments. Keeps the depth there."""
        position = self._at
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
            self._at = len(self._held)
            return
        rest = self._held[self._at :].lstrip()
        if brace := rest.startswith("}"):
            rest = rest[1:].lstrip()
        self._held, self._at, self._searched = "}" * brace + rest, 0, 0  # white space is not read again
        if rest.startswith(CALL_END):
            self._end_call(brace + len(CALL_END))
        elif rest and not CALL_END.startswith(rest):
            self._end_call(int(brace))

    def _end_call(self, place: int) -> None:
        self._at, self._state = place, _State.TEXT
        self._spaces, self._begins, self._is_behind_call = [], True, True

    def _text(self, text: str) -> Iterator[Event]:
        if self._begins:
            if not text or text.isspace():
                self._spaces.append(text)
                return
            text, self._spaces = "".join([*self._spaces, text]), []
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
