"""TOML tables to dataclasses, strictly: a key that is not a field is an error that names it.

A field's converter stands in its metadata: `field(default, metadata=reads(number))`.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
Converter = Callable[[Any, str], Any]


class WorkloadError(ValueError):
    """A workload file that cannot be used; the message names the key at fault and what was expected."""


def reads(converter: Converter) -> dict[str, Converter]:
    """The metadata of a field that `converter` reads: it gets the TOML value and where it stands."""
    return {"reads": converter}


def table(kind: type[T]) -> Callable[[Any, str], T]:
    """A converter from a TOML table to the dataclass `kind`."""

    def convert(value: Any, where: str) -> T:
        if not isinstance(value, dict):
            raise WorkloadError(f"{where}: expected a table, not {value!r}")
        fields = {one.name: one for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
        for key in value:
            if key not in fields:
                known = ", ".join(fields)
                raise WorkloadError(f"{_join(where, key)}: there is no such key; known here: {known}")
        for name, one in fields.items():
            if name not in value and one.default is one.default_factory is dataclasses.MISSING:
                raise WorkloadError(f"{_join(where, name)} is missing")
        try:
            return kind(**{key: fields[key].metadata["reads"](one, _join(where, key)) for key, one in value.items()})
        except WorkloadError as error:
            if str(error).startswith(where):
                raise
            raise WorkloadError(f"{where}: {error}") from None

    return convert


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def array(converter: Converter) -> Converter:
    """A converter from a TOML array, not empty, to a tuple."""

    def convert(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or not value:
            raise WorkloadError(f"{where}: expected a list of one or more, not {value!r}")
        return tuple(converter(one, f"{where}[{at}]") for at, one in enumerate(value))

    return convert


def text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise WorkloadError(f"{where}: expected text, not {value!r}")
    return value


def boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise WorkloadError(f"{where}: expected true or false, not {value!r}")
    return value


def one_of(names: Iterable[str]) -> Converter:
    """A converter that takes one of the names."""
    known = tuple(names)

    def convert(value: Any, where: str) -> str:
        if value not in known:
            raise WorkloadError(f"{where}: expected one of {', '.join(known)}, not {value!r}")
        return str(value)

    return convert


def number(least: float = 0.0, most: float = math.inf, *, above: bool = False) -> Converter:
    """A converter that takes a number of [least, most], or above `least` if so told."""

    def convert(value: Any, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise WorkloadError(f"{where}: expected a number, not {value!r}")
        if value < least or value > most or (above and value == least):
            bounds = f"{'above' if above else 'at least'} {least:g}" + (
                "" if most == math.inf else f", at most {most:g}"
            )
            raise WorkloadError(f"{where}: expected a number {bounds}, not {value!r}")
        return float(value)

    return convert


def whole(least: int = 0) -> Converter:
    """A converter that takes a whole number, `least` or more."""

    def convert(value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise WorkloadError(f"{where}: expected a whole number, at least {least}, not {value!r}")
        return value

    return convert


def choices(least: int = 1) -> Converter:
    """A converter to the numbers that are drawn from: `4`, `[10, 16, 32]`, or `"2-16"` for all from 2 to 16."""

    def convert(value: Any, where: str) -> tuple[int, ...]:
        if isinstance(value, str):
            ends = value.split("-")
            if len(ends) == 2 and all(end.strip().isdecimal() for end in ends) and int(ends[0]) <= int(ends[1]):
                value = list(range(int(ends[0]), int(ends[1]) + 1))
            else:
                raise WorkloadError(f'{where}: expected a number, a list, or a range such as "2-16", not {value!r}')
        numbers: tuple[int, ...] = array(whole(least))(value if isinstance(value, list) else [value], where)
        return numbers

    return convert


def size(value: Any, where: str) -> tuple[int, int]:
    """Width and height in pixels, of `"640x480"`."""
    sides = value.split("x") if isinstance(value, str) else []
    if len(sides) != 2 or not all(side.isdecimal() and int(side) >= 16 for side in sides):
        raise WorkloadError(f'{where}: expected a size such as "640x480", 16 pixels or more a side, not {value!r}')
    return int(sides[0]), int(sides[1])
