"""The pieces of a page: one HTML file, valid as XML too, that needs nothing from elsewhere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

STYLE_SHEET = Path(__file__).resolve().parents[2] / "reporting" / "style.css"


@dataclass(frozen=True, slots=True)
class Cell:
    """Text of a table or a tile; `mood` is good, bad or neither; `series`: the one of the plots whose colour it has."""

    text: str
    mood: str = ""
    series: int | None = None


def page(title: str, body: Iterable[str]) -> str:
    """The whole file."""
    style = STYLE_SHEET.read_text()
    head = '<meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>'
    pieces = "\n".join(piece for piece in body if piece)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<title>{escape(title)}</title><style>\n{style}</style></head>\n'
        f"<body><main>\n{pieces}\n</main></body></html>\n"
    )


def heading(title: str, below: Sequence[str]) -> str:
    lines = "".join(f'<p class="faint">{escape(line)}</p>' for line in below if line)
    return f"<h1>{escape(title)}</h1>{lines}"


def warning(text: str) -> str:
    return f'<p class="warning">{escape(text)}</p>' if text else ""


def tiles(named: dict[str, Cell]) -> str:
    """Large figures, each with its name below."""
    cells = "".join(
        f'<div class="tile {cell.mood}"><b>{escape(cell.text)}</b><span>{escape(name)}</span></div>'
        for name, cell in named.items()
    )
    return f'<div class="tiles">{cells}</div>'


def plot(title: str, caption: str, drawn: str) -> str:
    """A plot under its title; nothing if there is no plot."""
    if not drawn:
        return ""
    below = f"<figcaption>{escape(caption)}</figcaption>"
    return f'<h2>{escape(title)}</h2><figure>{below}<div class="wide">{drawn}</div></figure>'


def table(title: str, headers: Sequence[str], rows: Sequence[Sequence[Cell | str]]) -> str:
    """A table under its title, if it has one; nothing without rows."""
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in headers)
    body = "".join(f"<tr>{''.join(_cell(one) for one in row)}</tr>" for row in rows)
    above = f"<h2>{escape(title)}</h2>" if title else ""
    return f'{above}<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _cell(one: Cell | str) -> str:
    cell = one if isinstance(one, Cell) else Cell(one)
    mood = f' class="{cell.mood}"' if cell.mood else ""
    dot = "" if cell.series is None else f'<i style="background: var(--series-{cell.series})"></i>'
    return f"<td{mood}>{dot}{escape(cell.text)}</td>"


def folded(title: str, content: str) -> str:
    """Content that is there when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>" if content else ""


def listing(title: str, items: Sequence[str]) -> str:
    """A list under its title; nothing without items."""
    if not items:
        return ""
    return f"<h2>{escape(title)}</h2><ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"
