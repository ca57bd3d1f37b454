"""HTML pages from templates: one file each, without anything from elsewhere, in the colours of the screen.

A template extends `base.html.jinja` (frame and style sheet) and imports `macros.html.jinja` (tables, tiles, figures,
lists).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import jinja2

FOLDER = Path(__file__).resolve().parent

Mood = Literal["", "good", "bad"]


class Tile(NamedTuple):
    """A large figure with its name below."""

    name: str
    text: str
    mood: Mood = ""
    """Colour of the figure."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table."""

    text: str
    mood: Mood = ""
    """Colour of the text."""
    series: int | None = None
    """Number of the plots' series whose colour is shown beside the text."""


def template(file: Path) -> jinja2.Template:
    """Loads a template. Every value it shows is escaped, and a name it lacks is an error.

    The shared templates are found by name. `style_sheet` is the text of the style sheet.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([file.parent, FOLDER]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style_sheet"] = (FOLDER / "style.css").read_text()
    return environment.get_template(file.name)
