"""Reads of AV1 data how many frames it has and of which size, without decoding it.

Source: AV1 Bitstream & Decoding Process Specification, 5.3 (OBUs), 5.5 (sequence header) and 5.9 (frame header).
"""

from collections.abc import Iterator
from dataclasses import dataclass

SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6  # types of OBUs
HEADER_BYTES = 512  # of an OBU that are looked at; a sequence header of all 32 operating points takes 370
SELECT = 2  # the value of a sequence's setting that each frame decides by itself
KEY_FRAME, SWITCH_FRAME = 0, 3
LEVELS_WITHOUT_TIER = 7


class Av1Error(ValueError):
    """The data is not AV1, ends within a header, or has a frame whose size is not that of its sequence."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """What a sequence header says that the headers of its frames depend on.

    Attributes:
        size: width and height of its frames, unless a frame states its own.
        is_reduced: True for the shorter headers of still pictures.
        time_bits: length of the time that a shown frame states; 0 if it states none.
        screen_content: 0 or 1 for all frames, or SELECT.
        integer_vectors: 0 or 1 for all frames, or SELECT.
        id_bits: length of a frame's number; 0 if frames have none.

    """

    size: tuple[int, int]
    is_reduced: bool
    time_bits: int
    screen_content: int
    integer_vectors: int
    id_bits: int


class _Bits:
    """Reads unsigned numbers from the beginning of a header, the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._number, self._left = int.from_bytes(data), 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise Av1Error("a header ends early")
        return self._number >> self._left & ((1 << count) - 1)

    def read_unary_coded(self) -> int:
        """Reads what the specification calls uvlc()."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return 0 if zeros >= 32 else self.read(zeros) + (1 << zeros) - 1


def frame_sizes(data: bytes, most_obus: int) -> Iterator[tuple[int, int]]:
    """Yields the width and height of each frame. Raises Av1Error, also for more than `most_obus` OBUs."""
    sequence = None
    for kind, content in _obus(data, most_obus):
        if kind == SEQUENCE_HEADER:
            sequence = _sequence_header(_Bits(content))
        elif kind in (FRAME_HEADER, FRAME):
            if sequence is None or _has_own_size(_Bits(content), sequence):
                raise Av1Error("a frame has a size of its own")
            yield sequence.size


def _obus(data: bytes, most: int) -> Iterator[tuple[int, bytes]]:
    """Yields the type of each OBU and the beginning of its content."""
    position = 0
    for _ in range(most):
        if position >= len(data):
            return
        first = data[position]
        position += 2 if first & 4 else 1
        size = len(data) - position
        if first & 2:
            size, position = _leb128(data, position)
        if first & 0x80 or position + size > len(data) or size < 0:
            raise Av1Error("not an OBU")
        yield first >> 3 & 15, data[position : position + min(size, HEADER_BYTES)]
        position += size
    raise Av1Error("too many OBUs")


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    """Returns a number of seven bits a byte, the lowest first, and the position behind it."""
    number = 0
    for index, byte in enumerate(data[position : position + 8]):
        number |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return number, position + index + 1
    raise Av1Error("not a length")


def _sequence_header(bits: _Bits) -> Sequence:
    bits.read(4)  # profile, still_picture
    is_reduced = bool(bits.read(1))
    time_bits = 0
    if is_reduced:
        bits.read(5)  # the level
    else:
        time_bits = _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    size = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    if is_reduced:
        return Sequence(size, True, 0, SELECT, SELECT, 0)
    id_bits = bits.read(4) + bits.read(3) + 3 if bits.read(1) else 0
    bits.read(7)  # superblocks, and tools for which a frame has no bits before its size
    if bits.read(1):  # enable_order_hint
        bits.read(2)
    screen_content = SELECT if bits.read(1) else bits.read(1)
    integer_vectors = SELECT
    if screen_content and not bits.read(1):
        integer_vectors = bits.read(1)
    return Sequence(size, False, time_bits, screen_content, integer_vectors, id_bits)


def _skip_operating_points(bits: _Bits) -> int:
    """Reads timing and operating points; returns the length of the time that a shown frame states."""
    time_bits = delay_bits = 0
    is_constant = has_model = False
    if bits.read(1):  # timing_info
        bits.read(64)
        is_constant = bool(bits.read(1))
        if is_constant:
            bits.read_unary_coded()
        has_model = bool(bits.read(1))
        if has_model:
            delay_bits = bits.read(5) + 1
            bits.read(32 + 5)
            time_bits = bits.read(5) + 1
    has_display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > LEVELS_WITHOUT_TIER:
            bits.read(1)
        if has_model and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read(1):
            bits.read(4)
    return 0 if is_constant else time_bits


def _has_own_size(bits: _Bits, sequence: Sequence) -> bool:
    """True if a frame states a size other than its sequence's (frame_size_override_flag)."""
    if sequence.is_reduced:
        return False
    if bits.read(1):  # show_existing_frame
        return False
    kind, is_shown = bits.read(2), bits.read(1)
    bits.read(sequence.time_bits if is_shown else 1)  # or showable_frame
    if kind != SWITCH_FRAME and not (kind == KEY_FRAME and is_shown):
        bits.read(1)  # error_resilient_mode
    bits.read(1)  # disable_cdf_update
    screen_content = bits.read(1) if sequence.screen_content == SELECT else sequence.screen_content
    if screen_content and sequence.integer_vectors == SELECT:
        bits.read(1)
    bits.read(sequence.id_bits)
    return kind == SWITCH_FRAME or bool(bits.read(1))
