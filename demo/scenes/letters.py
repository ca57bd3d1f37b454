"""Capital letters as polygons, for signs."""

import math

STROKE = 0.3  # half a stroke's width; letters are 2 high
_INNER = 0.9 - 2 * STROKE


def _cross(turned: float, arm: float) -> tuple[tuple[float, float], ...]:
    """A cross of two strokes, turned by an angle in radians."""
    quarter = [(-STROKE, -STROKE), (-STROKE, -arm), (STROKE, -arm)]
    corners = []
    for quarters in range(4):
        angle = turned + quarters * math.pi / 2
        cosine, sine = math.cos(angle), math.sin(angle)
        corners += [(x * cosine - y * sine, x * sine + y * cosine) for x, y in quarter]
    return tuple(corners)


# The corners of each letter, in a square from -1 to 1; y points down.
OUTLINES: dict[str, tuple[tuple[float, float], ...]] = {
    "H": (
        *((-0.9, -1), (-_INNER, -1), (-_INNER, -STROKE), (_INNER, -STROKE), (_INNER, -1), (0.9, -1)),
        *((0.9, 1), (_INNER, 1), (_INNER, STROKE), (-_INNER, STROKE), (-_INNER, 1), (-0.9, 1)),
    ),
    "L": (
        (-0.8, -1),
        (2 * STROKE - 0.8, -1),
        (2 * STROKE - 0.8, 1 - 2 * STROKE),
        (0.8, 1 - 2 * STROKE),
        (0.8, 1),
        (-0.8, 1),
    ),
    "T": (
        *((-0.9, -1), (0.9, -1), (0.9, 2 * STROKE - 1), (STROKE, 2 * STROKE - 1)),
        *((STROKE, 1), (-STROKE, 1), (-STROKE, 2 * STROKE - 1), (-0.9, 2 * STROKE - 1)),
    ),
    "X": _cross(math.pi / 4, 1.25),
}
LETTERS = tuple(OUTLINES)
