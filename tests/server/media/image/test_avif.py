"""AVIF files are shown as browsers show them; those whose data is not what their boxes say are refused at once."""

import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from llava_interleave_serve.server.errors import LimitExceeded, MediaError, RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image import av1_headers, avif_guards
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.observability.timing import RequestTiming
from tests.support.image_files import NOISE, encode
from tests.support.pictures import avif_writer
from tests.support.pictures.avif_writer import Item, color_item, grid_item

SIZE = 64
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
SMOOTH = NOISE.resize((7, 5)).resize((160, 120), Image.Resampling.BICUBIC)
REFUSED_WITHIN = 0.3  # seconds of a busy core


def view(data: bytes, max_pixels: int = 50_000_000) -> np.ndarray:
    (pixels,) = decode_image(data, SquareResize(SIZE), Limits(max_pixels=max_pixels), RequestTiming()).views
    return np.asarray(pixels, int)


def refusal_of(data: bytes, max_pixels: int = 50_000_000) -> RequestError:
    """The error of a file that is refused in less than REFUSED_WITHIN."""
    view(encode(SMOOTH, "AVIF"))  # the first one of a process waits for the compiler
    started = time.perf_counter()
    with pytest.raises((MediaError, LimitExceeded)) as refusal:
        view(data, max_pixels)
    assert time.perf_counter() - started < REFUSED_WITHIN
    assert refusal.value.param == "url"
    return refusal.value


def of_colour(colour: tuple[int, ...], side: int = 64) -> Item:
    return color_item(Image.new("RGB", (side, side), colour))


def with_brand(data: bytes, brand: bytes) -> bytes:
    return data[:8] + brand + data[12:]


def test_pillow_can_decode_avif() -> None:
    assert features.check("avif")


@pytest.mark.parametrize("options", [{}, {"subsampling": "4:4:4"}, {"subsampling": "4:2:2"}, {"range": "limited"},
                                     {"quality": 100}, {"tile_rows": 2, "tile_cols": 2, "autotiling": False},
                                     {"icc_profile": bytes(2000), "xmp": b"<x/>"}], ids=str)  # fmt: skip
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_picture_is_served(mode: str, options: dict[str, object]) -> None:
    image = SMOOTH.convert(mode)
    expected = SquareResize(SIZE)(np.asarray(image.convert("RGB"))).astype(int)
    assert np.abs(view(encode(image, "AVIF", **{"quality": 95, **options})) - expected).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_that_its_properties_turn_is_seen_turned(orientation: int) -> None:
    """Pillow's encoder writes the orientation as `irot` and `imir`."""
    files = {}
    for kind in ("AVIF", "JPEG"):
        exif = Image.Exif()  # a new one: the encoder of AVIF takes the orientation out
        exif[0x0112] = orientation
        files[kind] = encode(SMOOTH, kind, quality=95, exif=exif)
    assert np.abs(view(files["AVIF"]) - view(files["JPEG"])).mean() < 2


def test_an_orientation_in_exif_data_alone_turns_nothing() -> None:
    """The properties of the file decide (ISO/IEC 23008-12, A.2.2), as in browsers."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = bytes(4) + exif.tobytes().removeprefix(b"Exif\0\0")
    picture = color_item(SMOOTH)
    with_exif = avif_writer.write([picture, Item(b"Exif", (1, 1), content, references=(b"cdsc", [1]))])
    with Image.open(io.BytesIO(with_exif)) as image:
        assert "exif" in image.info
    assert (view(with_exif) == view(avif_writer.write([picture]))).all()


def test_transparency_is_shown_over_white() -> None:
    clear = Image.new("RGBA", (64, 64), (*RED, 0))
    assert (view(encode(clear, "AVIF")) == 255).all()
    half = Image.new("RGBA", (64, 64), (*BLUE, 128))
    assert np.abs(view(encode(half, "AVIF", quality=100)) - (127, 127, 255)).max() <= 4


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_animation_shows_its_first_frame(mode: str) -> None:
    frames = [Image.new(mode, (64, 64), colour) for colour in ("lime", "red", "blue")]
    data = encode(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    assert data[8:12] == b"avis"
    assert np.abs(view(data) - GREEN).max() <= 4


def test_tables_of_an_animation_are_not_read() -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("lime", "red", "blue")]
    data = encode(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    start = data.index(b"stsz") + 4
    damaged = data[:start] + b"\xff" * 12 + data[start + 12 :]
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(damaged))
    assert (view(damaged) == view(data)).all()


def test_tiles_are_put_together() -> None:
    tiles = [of_colour(colour) for colour in (RED, GREEN, BLUE, WHITE)]
    pixels = view(avif_writer.write([grid_item(2, 2, (128, 128)), *tiles]))
    for (y, x), colour in {(8, 8): RED, (8, 56): GREEN, (56, 8): BLUE, (56, 56): WHITE}.items():
        assert np.abs(pixels[y, x] - colour).max() <= 4


@pytest.mark.parametrize("brand", [b"avif", b"avis", b"mif1", b"miaf", b"MA1B"])
def test_the_major_brand_may_be_any_if_the_file_says_that_it_is_an_avif(brand: bytes) -> None:
    data = avif_writer.write([of_colour(RED)], brand)
    assert np.abs(view(data) - RED).max() <= 4


def test_the_threads_of_a_decoder_are_its_own_one() -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    view(encode(SMOOTH, "AVIF"))
    before = threads()
    with Image.open(io.BytesIO(encode(SMOOTH.resize((2000, 1500)), "AVIF"))) as image:
        image.load()
        assert threads() == before  # dav1d's threads live as long as the decoder


def test_a_picture_of_too_many_pixels_is_refused_by_its_header() -> None:
    data = encode(SMOOTH.resize((2000, 1000)), "AVIF")
    assert "2000x1000 pixels, more than the 1999999 allowed" in refusal_of(data, 1_999_999).message
    item = of_colour(RED)
    for size, message in {
        (8000, 8000): "8000x8000 pixels, more than the 50000000 allowed",
        (70_000, 1): "70000x1 pixels, more than the 65535 allowed along a side",
        (40_000, 1): "an AVIF of more than 32768 pixels along a side",
    }.items():
        error = refusal_of(avif_writer.write([Item(b"av01", size, item.content, item.properties)]))
        assert isinstance(error, LimitExceeded)
        assert message in error.message


@pytest.mark.parametrize("stated", [(64, 64), (3000, 2999), (4000, 4000)])
def test_a_frame_of_another_size_than_the_file_states_is_refused(stated: tuple[int, int]) -> None:
    item = of_colour(RED, 3000)
    item.size = stated
    assert "damaged" in refusal_of(avif_writer.write([item])).message


def test_a_tile_of_another_size_than_the_file_states_is_refused() -> None:
    tiles = [of_colour(RED) for _ in range(3)] + [of_colour(RED, 3000)]
    tiles[3].size = (64, 64)
    assert "damaged" in refusal_of(avif_writer.write([grid_item(2, 2, (128, 128)), *tiles])).message


def test_a_grid_of_another_size_than_the_file_states_is_refused() -> None:
    grid = grid_item(1, 2, (128, 64))
    grid.size = (64, 64)
    assert "damaged" in refusal_of(avif_writer.write([grid, of_colour(RED), of_colour(RED)])).message


def test_countless_frames_in_one_picture_are_refused() -> None:
    item = of_colour(RED, 2000)
    frame = item.content[item.content.index(b"\x32") :]
    item.content += frame * 3
    assert avif_writer.write([item])[4:8] == b"ftyp"
    item.content += frame * 40
    error = refusal_of(avif_writer.write([item]))
    assert isinstance(error, LimitExceeded)
    assert "more than 4 frames" in error.message


def test_frames_of_all_items_together_are_bounded() -> None:
    items = [of_colour(RED, 1000) for _ in range(4)]
    assert view(avif_writer.write(items), 1_400_000).shape == (SIZE, SIZE, 3)
    error = refusal_of(avif_writer.write(items), 1_300_000)
    assert "frames of 4000000 pixels together" in error.message


def test_data_that_is_read_over_and_over_is_refused() -> None:
    item = of_colour(RED)
    metadata = Item(b"Exif", (1, 1), bytes(1_000_000), copies=1000)
    error = refusal_of(avif_writer.write([item, metadata]))
    assert isinstance(error, LimitExceeded)
    assert "several times over" in error.message


def many_parts() -> dict[str, bytes]:
    whole = avif_writer.write([of_colour(RED)])
    ftyp = whole[: int.from_bytes(whole[:4])]
    return {
        "boxes": ftyp + avif_writer.box(b"free") * 1_000_000 + whole[len(ftyp) :],
        "extents": avif_writer.write([of_colour(RED), Item(b"Exif", (1, 1), b"", copies=65_535)]),
        "OBUs": avif_writer.write([Item(b"av01", (64, 64), b"\x12\0" * 1_000_000)]),
    }


@pytest.mark.parametrize("name", many_parts())
def test_countless_parts_are_refused_at_once(name: str) -> None:
    assert refusal_of(many_parts()[name]).code in ("invalid_media", "limit_exceeded")


def test_countless_properties_are_refused_at_once() -> None:
    item = of_colour(RED)
    whole = avif_writer.write([item])
    entry = struct.pack(">HB", 1, 255) + bytes(255)
    many = avif_writer.full_box(b"ipma", struct.pack(">I", 2000), entry * 2000)
    start = whole.index(b"iprp") - 4
    end = start + int.from_bytes(whole[start : start + 4])
    properties = avif_writer.box(b"iprp", whole[start + 8 : end], many * 20)
    meta = whole.index(b"meta") - 4
    grown = int.from_bytes(whole[meta : meta + 4]) + len(properties) - (end - start)
    data = whole[:meta] + struct.pack(">I", grown) + whole[meta + 4 : start] + properties + whole[end:]
    assert isinstance(refusal_of(data), LimitExceeded)


@pytest.mark.parametrize("kind", [b"meta", b"iloc", b"iinf", b"iprp"])
def test_a_box_that_stands_twice_is_refused(kind: bytes) -> None:
    whole = avif_writer.write([of_colour(RED)])
    start = whole.index(kind) - 4
    end = start + int.from_bytes(whole[start : start + 4])
    again = whole[start:end]
    data = whole[:start] + again + whole[start:]
    if kind != b"meta":
        meta = whole.index(b"meta") - 4
        grown = struct.pack(">I", int.from_bytes(whole[meta : meta + 4]) + len(again))
        data = data[:meta] + grown + data[meta + 4 :]
    assert "damaged" in refusal_of(data).message


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_file_that_is_cut_short_is_refused(share: float) -> None:
    data = encode(NOISE, "AVIF", quality=95)
    assert "damaged" in refusal_of(data[: int(len(data) * share)]).message


def test_an_animation_without_a_still_picture_is_refused_by_name() -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("lime", "red")]
    data = encode(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    start = data.index(b"meta")
    assert "without a still picture" in refusal_of(data[:start] + b"free" + data[start + 4 :]).message


def test_another_file_is_given_back_as_it_is() -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encode(NOISE, kind)
        assert avif_guards.checked(data, Limits(max_pixels=1)) is data
    data = encode(NOISE, "AVIF")
    assert avif_guards.checked(data, Limits()) is data


class TestAv1Headers:
    def test_the_frame_of_a_still_picture_has_the_size_of_its_sequence(self) -> None:
        for size in [(1, 1), (64, 64), (33, 7), (300, 200)]:
            item = color_item(Image.new("RGB", size, "red"))
            assert list(av1_headers.frame_sizes(item.content, 64)) == [size]

    def test_each_frame_of_a_video_has_the_size_of_its_sequence(self) -> None:
        """An animation has the longer headers of videos."""
        frames = [SMOOTH.rotate(number) for number in range(9)]
        data = encode(frames[0], "AVIF", save_all=True, append_images=frames[1:])
        content = data[data.index(b"mdat") + 4 :]
        sizes = list(av1_headers.frame_sizes(content, 64))
        assert set(sizes) == {SMOOTH.size}
        assert len(sizes) >= len(frames)

    def test_data_that_is_not_av1_is_an_error(self) -> None:
        for content in (b"\x80\0", b"\x0a\xff", b"\x0a\x01\0", b"\x32\0", b"\x0a" + b"\xff" * 9):
            with pytest.raises(av1_headers.Av1Error):
                list(av1_headers.frame_sizes(content, 64))
