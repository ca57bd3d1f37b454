"""Frames are turned, mirrored and blended over white as they are shown."""

import io
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from llava_interleave_serve.server.media.video.frame_reader import FrameReader
from tests.support.videos import video_files
from tests.support.videos.video_files import SIZE, StoredPacket

WIDTH, HEIGHT = SIZE
COLOURS = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "W": (255, 255, 255)}
ONE = 1 << 16
# a, b, c, d of a track header's matrix, and the quarters shown, row by row: column x and row y are shown in column
# a x + c y and row b x + d y (ISO/IEC 14496-12, 6.2.2).
MATRICES = {
    "as stored": ((ONE, 0, 0, ONE), "RGBW"), "mirrored": ((-ONE, 0, 0, ONE), "GRWB"),
    "upside down": ((ONE, 0, 0, -ONE), "BWRG"), "by 180": ((-ONE, 0, 0, -ONE), "WBGR"),
    "clockwise": ((0, ONE, -ONE, 0), "BRWG"), "counter-clockwise": ((0, -ONE, ONE, 0), "GWRB"),
    "clockwise, mirrored": ((0, ONE, ONE, 0), "RBGW"), "counter-clockwise, mirrored": ((0, -ONE, -ONE, 0), "WGBR"),
    "twice as large": ((2 * ONE, 0, 0, -2 * ONE), "BWRG"), "of another shape": ((0, 2 * ONE, ONE, 0), "RBGW"),
    "clockwise but for rounding": ((300, ONE, -ONE, -300), "BRWG"), "of nothing": ((0, 0, 0, 0), "RGBW"),
    "by 45 degrees": ((ONE, ONE, -ONE, ONE), "RGBW"),
}  # fmt: skip
# Degrees counter-clockwise, then mirrored, then upside down.
TURNS = [
    (0, False, False, "RGBW"), (90, False, False, "GWRB"), (180, False, False, "WBGR"), (270, False, False, "BRWG"),
    (0, True, False, "GRWB"), (180, True, False, "BWRG"),
]  # fmt: skip
# Formats with alpha: container, encoder, pixel format.
TRANSPARENT = {
    "PNG": ("mov", "png", "rgba"), "PNG of 16 bits": ("mov", "png", "rgba64be"), "grey PNG": ("mov", "png", "ya8"),
    "grey PNG of 16 bits": ("mov", "png", "ya16be"), "ProRes 4444": ("mov", "prores_ks", "yuva444p10le"),
    "QuickTime Animation": ("mov", "qtrle", "argb"), "uncompressed MOV": ("mov", "rawvideo", "argb"),
    "FFV1": ("mkv", "ffv1", "yuva420p"), "FFV1 of 16 bits": ("mkv", "ffv1", "gbrap16le"),
    "Ut Video": ("avi", "utvideo", "gbrap"), "Huffyuv": ("avi", "ffvhuff", "yuva444p"),
}  # fmt: skip


def quarters() -> np.ndarray:
    """A picture of red and green above blue and white."""
    top, bottom = (
        np.hstack([np.full((HEIGHT // 2, WIDTH // 2, 3), COLOURS[name], np.uint8) for name in row])
        for row in ("RG", "BW")
    )
    return np.vstack([top, bottom])


def seen(frame: np.ndarray) -> str:
    """The colours of a frame's quarters, row by row."""
    height, width = frame.shape[:2]
    middles = [frame[y, x].astype(int) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    return "".join(min(COLOURS, key=lambda name: np.abs(COLOURS[name] - middle).sum()) for middle in middles)


@pytest.mark.parametrize("container", ["mp4", "mov"])
@pytest.mark.parametrize("name", MATRICES)
def test_frames_are_turned_and_mirrored_by_the_matrix_of_the_track(name: str, container: str, tmp_path: Path) -> None:
    path = video_files.write(tmp_path / f"video.{container}", "libx264", {}, [quarters()] * 2)
    (a, b, c, d), expected = MATRICES[name]
    video = bytearray(path.read_bytes())
    start = video.index(b"tkhd") + 44
    assert video[start : start + 36] == struct.pack(">9i", ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
    video[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(video)
    (frame,) = FrameReader(str(path)).read([1])
    assert frame.shape == ((HEIGHT, WIDTH, 3) if abs(a) >= abs(b) else (WIDTH, HEIGHT, 3))
    assert seen(frame) == expected


@pytest.mark.parametrize(("degrees", "is_mirrored", "is_upside_down", "expected"), TURNS)
@pytest.mark.parametrize(("container", "codec"), [("mkv", "libx264"), ("webm", "libvpx")])
def test_frames_are_turned_and_mirrored_by_the_projection_of_the_track(
    container: str, codec: str, degrees: int, is_mirrored: bool, is_upside_down: bool, expected: str, tmp_path: Path
) -> None:
    def turn(stream: Any) -> None:
        stream.set_display_rotation(degrees, is_mirrored, is_upside_down)

    path = video_files.write(tmp_path / f"video.{container}", codec, {}, [quarters()] * 2, prepare=turn)
    assert seen(FrameReader(str(path)).read([0])[0]) == expected


def test_frames_with_side_data_that_pyav_does_not_know_are_turned(tmp_path: Path) -> None:
    source = video_files.write(
        tmp_path / "source.mov",
        "mjpeg",
        {},
        [quarters()] * 2,
        pixel_format="yuvj420p",
        prepare=lambda stream: stream.set_display_rotation(90),
    )
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x010E] = "a description"
    Image.fromarray(quarters()).save(buffer, "JPEG", exif=exif)
    path = video_files.remux(
        source,
        tmp_path / "exif.mov",
        [StoredPacket(buffer.getvalue(), 0, 0, True)],
        prepare=lambda stream: stream.set_display_rotation(90),
    )
    with av.open(str(path)) as file, pytest.raises(ValueError, match="is not a valid Type"):
        _ = next(file.decode(video=0)).side_data
    assert seen(FrameReader(str(path)).read([0])[0]) == "GWRB"


def transparent() -> np.ndarray:
    """Red of three alphas, from left to right 0, 255 and 128: uint8 [H, W, 4]."""
    picture = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    picture[..., 0] = 255
    picture[:, WIDTH // 3 : 2 * WIDTH // 3, 3] = 255
    picture[:, 2 * WIDTH // 3 :, 3] = 128
    return picture


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_transparency_is_over_white(kind: str, tmp_path: Path) -> None:
    container, codec, pixel_format = TRANSPARENT[kind]
    path = video_files.write(tmp_path / f"video.{container}", codec, {}, [transparent()] * 2, pixel_format=pixel_format)
    (frame,) = FrameReader(str(path)).read([1])
    colour = np.array((76, 76, 76) if pixel_format.startswith("ya") else (255, 0, 0))
    assert (frame[10:-10, 4:16] == 255).all(), "what is hidden under full transparency stays hidden"
    assert frame[10:-10, 26:38].reshape(-1, 3) == pytest.approx(np.tile(colour, (336, 1)), abs=3)
    assert frame[10:-10, 48:60].reshape(-1, 3) == pytest.approx(np.tile((colour + 255) / 2, (336, 1)), abs=3)


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_a_transparent_colour_of_png_pictures_is_white(mode: str, tmp_path: Path) -> None:
    source = video_files.write(tmp_path / "source.mov", "png", {}, [transparent()], pixel_format="rgba")
    picture = np.full((HEIGHT, WIDTH, 3), COLOURS["B"], np.uint8)
    picture[:, : WIDTH // 2] = COLOURS["R"]
    image, buffer = Image.fromarray(picture), io.BytesIO()
    if mode == "P":
        image = image.quantize(2)
    image.save(buffer, "PNG", transparency=image.getpixel((0, 0)))
    path = video_files.remux(source, tmp_path / "video.mov", [StoredPacket(buffer.getvalue(), 0, 0, True)])
    assert seen(FrameReader(str(path)).read([0])[0]) == "WBWB"


def test_the_fourth_byte_of_uncompressed_avi_is_not_alpha(tmp_path: Path) -> None:
    """It is unused in a Windows bitmap, and 0 in most files."""
    picture = np.dstack([quarters(), np.zeros((HEIGHT, WIDTH), np.uint8)])
    path = video_files.write(tmp_path / "video.avi", "rawvideo", {}, [picture] * 2, pixel_format="bgra")
    assert seen(FrameReader(str(path)).read([0])[0]) == "RGBW"


@pytest.mark.parametrize(("tag", "expected"), [(None, (236, 77, 44)), ("bt709", (250, 91, 41))])
def test_colours_are_converted_by_bt_601_unless_the_file_says_otherwise(
    tag: str | None, expected: tuple[int, int, int], tmp_path: Path
) -> None:
    """Y 120, U 90 and V 200 of limited range, by the formulas of Rec. ITU-R BT.601 and BT.709."""
    options = {} if tag is None else {"x264-params": f"colormatrix={tag}"}
    with av.open(str(tmp_path / "video.mp4"), "w") as file:
        stream: Any = file.add_stream("libx264", rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        planes = np.full((1080, 1280), 120, np.uint8)
        planes[720:900], planes[900:] = 90, 200
        file.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        file.mux(stream.encode(None))
    (frame,) = FrameReader(str(tmp_path / "video.mp4")).read([0])
    assert frame.mean((0, 1)) == pytest.approx(expected, abs=2)
