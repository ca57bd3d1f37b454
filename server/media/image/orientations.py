"""Turns pictures as their Exif data says."""

import numpy as np
from PIL import ExifTags, Image

# For each Exif orientation but 1, the upright one: (True to mirror left and right first, quarter turns to the left).
ORIENTATIONS = {
    2: (True, 0),
    3: (False, 2),
    4: (True, 2),
    5: (True, 1),
    6: (False, 3),
    7: (True, 3),
    8: (False, 1),
}
QUARTER_TURNED = (5, 6, 7, 8)  # orientations that exchange width and height


def read(image: Image.Image) -> int:
    """Returns the orientation in the Exif data, which Pillow writes for an AVIF; 1 if there is none that can be read.

    Unlike Pillow's getexif, looks at nothing else, as browsers do: not at XMP, nor at Exif data in a PNG's texts.
    """
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        return int(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - whatever the parts of Pillow's reader raise; the picture itself is whole
        return 1


def upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """The width and height of a picture after it is turned."""
    return (size[1], size[0]) if orientation in QUARTER_TURNED else size


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns and mirrors pixels [H, W, 3] by an orientation; values that Exif does not define change nothing."""
    is_mirrored, turns = ORIENTATIONS.get(orientation, (False, 0))
    return np.ascontiguousarray(np.rot90(pixels[:, ::-1] if is_mirrored else pixels, turns))
