"""Colours that people call by the names which the demo knows, as regions of HSV, and how well colours differ."""

import colorsys
import math
import random
from dataclasses import dataclass

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Region:
    """A box of HSV.

    hue: least and greatest, in degrees; the least may be negative.
    saturation, value: least and greatest, 0 to 1.
    """

    hue: tuple[float, float]
    saturation: tuple[float, float]
    value: tuple[float, float]

    def holds(self, rgb: RGB) -> bool:
        """True if the colour lies in the region."""
        hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in rgb))
        turn = (360 * hue - self.hue[0]) % 360
        inside = self.saturation[0] <= saturation <= self.saturation[1] and self.value[0] <= value <= self.value[1]
        return inside and turn <= self.hue[1] - self.hue[0]

    def draw(self, rng: random.Random) -> RGB:
        """Draws a colour of the region, uniformly in HSV."""
        while True:
            hue, saturation, value = (rng.uniform(*bounds) for bounds in (self.hue, self.saturation, self.value))
            red, green, blue = (
                round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value)
            )
            if self.holds((red, green, blue)):  # which rounding may have moved out
                return red, green, blue


# Between the regions lies what people name otherwise or disagree about: orange, brown and maroon, pink, lime, olive,
# mint, cyan, navy that looks black, violet, magenta, grey. A bright magenta is no purple, but a dark one is; a
# dark blue near green is teal; what is nearly black may have any hue: hence two boxes.
REGIONS: dict[str, tuple[Region, ...]] = {
    "red": (Region((-8, 8), (0.78, 1), (0.62, 1)),),
    "green": (Region((95, 146), (0.6, 1), (0.35, 1)),),
    "blue": (Region((205, 218), (0.65, 1), (0.7, 1)), Region((218, 246), (0.65, 1), (0.5, 1))),
    "yellow": (Region((49, 61), (0.7, 1), (0.9, 1)),),
    "purple": (Region((268, 284), (0.5, 1), (0.4, 0.92)), Region((284, 305), (0.55, 1), (0.4, 0.65))),
    "black": (Region((0, 360), (0, 0.35), (0, 0.14)), Region((0, 360), (0, 1), (0, 0.06))),
}
# What programs and style sheets offer under the names.
USUAL: dict[str, tuple[RGB, ...]] = {
    "red": ((255, 0, 0), (214, 39, 40), (237, 28, 36)),
    "green": ((0, 128, 0), (0, 255, 0), (44, 160, 44), (34, 177, 76), (50, 205, 50)),
    "blue": ((0, 0, 255), (63, 72, 204), (65, 105, 225), (30, 144, 255), (0, 0, 205)),
    "yellow": ((255, 255, 0), (255, 215, 0), (255, 242, 0), (253, 231, 37)),
    "purple": ((128, 0, 128), (106, 13, 173), (138, 43, 226), (102, 51, 153)),
    "black": ((0, 0, 0), (17, 17, 17), (33, 33, 33)),
}
USUAL_SHARE = 0.4
CLEAR_DIFFERENCE = 45.0  # in CIELAB
# In the dark, hues alone are hard to tell apart: below this lightness there must be a difference of lightness too.
DARK, CLEAR_LIGHTNESS = 45.0, 15.0


def named(rgb: RGB) -> str | None:
    """The name of the colour, None if it lies in no region."""
    names = [name for name, regions in REGIONS.items() if any(region.holds(rgb) for region in regions)]
    return names[0] if names else None


def shade(rng: random.Random, name: str) -> RGB:
    """Draws a shade of a name of REGIONS: a usual one, or any of its regions."""
    if rng.random() < USUAL_SHARE:
        return rng.choice(USUAL[name])
    return rng.choice(REGIONS[name]).draw(rng)


def lab(rgb: RGB) -> tuple[float, float, float]:
    """Converts sRGB (0 to 255) to CIELAB for the white D65, by the formulas of IEC 61966-2-1 and CIE 15."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (channel / 255 for channel in rgb)]
    rows = ((0.4124, 0.3576, 0.1805, 0.95047), (0.2126, 0.7152, 0.0722, 1.0), (0.0193, 0.1192, 0.9505, 1.08883))
    shares = [sum(a * b for a, b in zip(row[:3], linear, strict=True)) / row[3] for row in rows]
    x, y, z = (s ** (1 / 3) if s > (6 / 29) ** 3 else s / (3 * (6 / 29) ** 2) + 4 / 29 for s in shares)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def difference(one: RGB, other: RGB) -> float:
    """The distance of two colours in CIELAB; 2 is just seen, black and white are 100 apart."""
    return math.dist(lab(one), lab(other))


def clearly_differ(one: RGB, other: RGB) -> bool:
    """True if the one colour is clearly seen on the other."""
    lightness = (lab(one)[0], lab(other)[0])
    lost_in_the_dark = max(lightness) < DARK and abs(lightness[0] - lightness[1]) < CLEAR_LIGHTNESS
    return difference(one, other) >= CLEAR_DIFFERENCE and not lost_in_the_dark


def blend(one: RGB, other: RGB, share: float) -> RGB:
    """Mixes two colours: a `share` of 0 is the one, 1 the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
