"""Picture files that are bombs, of other formats, of rare modes, or damaged."""

import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from tests.support import damaged_videos
from tests.support.attacked_server import AttackedServer, assert_refused, data_url, media_part
from tests.support.image_files import NOISE, encode
from tests.support.pictures import avif_writer

IMAGE = "messages[0].content[0].image_url.url"
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def refused_picture(target: AttackedServer, data: bytes, media_type: str = "image/png") -> str:
    """Sends a picture; asserts that it is refused and returns the message."""
    return assert_refused(target.chat(media_part("image_url", data_url(data, media_type))), param=IMAGE)


def view_of(target: AttackedServer, data: bytes) -> np.ndarray:
    """Sends a picture; returns the view that the engine received: uint8 [S, S, 3]."""
    response = target.chat(media_part("image_url", data_url(data)))
    assert response.status_code == 200, response.text
    (visual,) = target.engine.asked[-1][1]
    view: np.ndarray = visual.views[0]
    return view


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG file with a header of that size and the chunks given."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def bombs() -> dict[str, bytes]:
    """Small files whose headers announce large pictures."""
    zeros = chunk(b"IDAT", zlib.compress(bytes(3_000_000)))
    webp, gif, bmp, jpeg = (bytearray(encode(NOISE, kind)) for kind in ("WEBP", "GIF", "BMP", "JPEG"))
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16_382).to_bytes(3, "little") * 2
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    frame = bytearray(encode(NOISE, "GIF"))
    first = frame.index(b",\0\0\0\0")
    frame[first + 5 : first + 9] = struct.pack("<HH", 65_535, 65_535)
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    size = jpeg.index(b"\xff\xc0") + 5
    jpeg[size : size + 4] = struct.pack(">HH", 65_000, 65_000)
    return {
        "PNG of 10 gigapixels": png(100_000, 100_000, zeros),
        "PNG of 100 megapixels": png(10_000, 10_000, zeros),
        "PNG of 60 megapixels": png(7_500, 8_000, zeros),
        "PNG of one row": png(2**31 - 1, 1, zeros),
        "PNG of 16 bits": png(9_000, 9_000, zeros, depth=16, colour=6),
        "WebP": b"RIFF" + struct.pack("<I", len(webp) + 10) + b"WEBP" + extended + bytes(webp[12:]),
        "GIF's screen": bytes(gif),
        "GIF's first frame": bytes(frame),
        "BMP": bytes(bmp),
        "JPEG": bytes(jpeg),
    }


def jpeg_with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated `count` times."""
    data = encode(Image.new("L", (2000, 2000), 128), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + data[-2:]


class TestDecompressionBombs:
    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize("name", bombs())
    def test_a_small_file_of_a_large_picture_is_refused_by_its_header(self, target: AttackedServer, name: str) -> None:
        message = refused_picture(target, bombs()[name])
        assert "pixels" in message or "damaged" in message

    def test_the_pixel_limit_of_pillow_stays_on(self, target: AttackedServer) -> None:
        assert Image.MAX_IMAGE_PIXELS is not None
        assert Image.MAX_IMAGE_PIXELS < 200_000_000

    def test_compressed_text_in_a_png_is_not_inflated_without_end(self, target: AttackedServer) -> None:
        text = zlib.compress(bytes(1_000_000), 9)
        pixels = chunk(b"IDAT", zlib.compress(bytes(4)))
        texts = [chunk(b"zTXt", b"%d\0\0" % number + text) for number in range(80)]
        refused_picture(target, png(1, 1, *texts, pixels))
        refused_picture(target, png(1, 1, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50_000_000), 9)), pixels))

    def test_a_jpeg_of_hundreds_of_scans_is_refused_before_the_first_is_decoded(self, target: AttackedServer) -> None:
        assert "scans" in refused_picture(target, jpeg_with_scans(300))
        assert view_of(target, jpeg_with_scans(0)).shape == (112, 112, 3)

    def test_a_jpeg_of_thousands_of_exif_segments_is_refused(self, target: AttackedServer) -> None:
        data = encode(NOISE, "JPEG")
        assert "Exif" in refused_picture(target, data[:2] + b"\xff\xe1\x00\x09Exif\0\0a" * 10_000 + data[2:])

    def test_an_animation_of_hundreds_of_frames_costs_one_view(self, target: AttackedServer) -> None:
        frames = [Image.new("P", (8, 8), number % 200) for number in range(500)]
        for kind in ("GIF", "WEBP", "PNG"):
            data = encode(frames[0].convert("RGB"), kind, save_all=True, append_images=frames[1:])
            assert view_of(target, data).shape == (112, 112, 3)


class TestFilesOfTwoSizes:
    @pytest.mark.parametrize("sizes", [(20_000, 1), (1, 20_000), (1, 1)])
    def test_a_png_with_two_headers_is_refused(self, target: AttackedServer, sizes: tuple[int, int]) -> None:
        first, second = (struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0) for side in sizes)
        pixels = chunk(b"IDAT", zlib.compress(bytes(1_000_000)))
        data = png(1, 1)[:8] + chunk(b"IHDR", first) + chunk(b"IHDR", second) + pixels + chunk(b"IEND", b"")
        assert "more than one IHDR" in refused_picture(target, data)


class TestAvifFiles:
    @pytest.mark.parametrize("stated", [(64, 64), (5000, 5000)])
    def test_a_frame_of_another_size_than_the_boxes_state_is_refused(
        self, target: AttackedServer, stated: tuple[int, int]
    ) -> None:
        picture = avif_writer.color_item(Image.new("RGB", (3000, 3000), RED))
        picture.size = stated
        assert "damaged" in refused_picture(target, avif_writer.write([picture]), "image/avif")

    def test_countless_frames_in_one_picture_are_refused(self, target: AttackedServer) -> None:
        picture = avif_writer.color_item(Image.new("RGB", (3000, 3000), RED))
        picture.content += picture.content[picture.content.index(b"\x32") :] * 60
        started = time.monotonic()
        assert "more than 4 frames" in refused_picture(target, avif_writer.write([picture]), "image/avif")
        assert time.monotonic() - started < 2

    def test_countless_tiles_and_copies_of_data_are_refused(self, target: AttackedServer) -> None:
        tile = avif_writer.color_item(Image.new("RGB", (1000, 1000), RED))
        grid = avif_writer.grid_item(16, 12, (12_000, 16_000))
        assert "12000x16000 pixels" in refused_picture(target, avif_writer.write([grid, *[tile] * 192]), "image/avif")
        copies = avif_writer.Item(b"Exif", (1, 1), bytes(1_000_000), copies=1000)
        assert "several times over" in refused_picture(target, avif_writer.write([tile, copies]), "image/avif")


class TestWarnings:
    def test_warnings_of_a_picture_are_not_kept(self, target: AttackedServer) -> None:
        tags = b"".join(struct.pack("<HHII", tag, 2, 1_000_000, 8) for tag in range(1, 5001))
        exif = b"II*\0\x08\0\0\0" + struct.pack("<H", 5000) + tags + bytes(4)
        pixels = chunk(b"IDAT", zlib.compress(bytes(4)))
        view_of(target, png(1, 1, chunk(b"eXIf", exif), pixels))
        assert len(vars(TiffImagePlugin).get("__warningregistry__", {})) < 100


def files_of_many_pieces() -> dict[str, bytes]:
    """Files of about a megabyte that take seconds to open or decode where nothing bounds their pieces."""
    pixels = chunk(b"IDAT", zlib.compress(bytes(4)))
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 20), 9))
    jpeg, gif, bmp = encode(NOISE, "JPEG"), encode(NOISE.quantize(256), "GIF"), encode(NOISE.convert("P"), "BMP")
    return {
        "PNG of empty chunks": png(1, 1, chunk(b"prVt", b"") * 80_000, pixels),
        "PNG of colour profiles": png(1, 1, profile * 900, pixels),
        "JPEG of empty segments": jpeg[:2] + b"\xff\xe5\0\2" * 250_000 + jpeg[2:],
        "JPEG of padding": jpeg[:2] + b"\xff" * 1_000_000 + jpeg[2:],
        "GIF of short blocks": gif[:781] + b"!\xfe" + b"\1a" * 500_000 + b"\0" + gif[781:],
        "BMP of run lengths": bmp[:18] + struct.pack("<iiHHI", 7000, 7000, 1, 8, 1) + bmp[34:],
    }


class TestFilesOfManyPieces:
    @pytest.mark.parametrize("name", files_of_many_pieces())
    def test_a_small_file_of_many_pieces_is_refused_at_once(self, target: AttackedServer, name: str) -> None:
        data = files_of_many_pieces()[name]
        started = time.monotonic()
        message = refused_picture(target, data)
        assert time.monotonic() - started < 2
        assert "more than" in message or "run lengths" in message


# Files of other formats, and what the message calls them.
NAMED_FORMATS = {
    "a TIFF image": [encode(NOISE, "TIFF"), b"MM\0*" + bytes(100), b"II+\0" + bytes(100)],
    "a JPEG 2000 image": [encode(NOISE, "JPEG2000"), b"\xff\x4f\xff\x51" + bytes(100)],
    "a JPEG XL image": [b"\xff\x0a" + bytes(100), b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100)],
    "a HEIC image": [b"\0\0\0\x20ftyp%s" % brand + bytes(500) for brand in (b"heic", b"heix", b"mif1", b"msf1")],
    "a camera raw file": [b"FUJIFILMCCD-RAW " + bytes(100), b"\0\0\0\x18ftypcrx " + bytes(100)],
    "a Photoshop document": [b"8BPS\0\1" + bytes(100)],
    "a PDF document": [encode(NOISE, "PDF")],
    "a PostScript document": [encode(NOISE, "EPS"), b"%!PS\n(/etc/passwd) (r) file\n"],
    "an icon (ICO)": [encode(NOISE, "ICO")],
    "an SVG image": [
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a drawing -->\n<SVG/>",
    ],
    "an HTML page": [b"<html>", b"\n<!DOCTYPE html><title>Not found</title>"],
    "a video": [damaged_videos.write("mp4", 3), b"\x1aE\xdf\xa3" + bytes(100), b"RIFF\0\0\0\0AVI " + bytes(100)],
}  # fmt: skip
OTHER_FORMATS = {
    "PPM": encode(NOISE, "PPM"), "TGA": encode(NOISE, "TGA"), "PCX": encode(NOISE, "PCX"), "SGI": encode(NOISE, "SGI"),
    "nothing": b"\0" * 100, "text": b"hello", "FLI": b"\0\0\0\0\x11\xaf" + bytes(122), "a tag in text": b"an <svg>",
}  # fmt: skip
# Files that begin as a served format does, but hold no picture.
EMPTY_FILES = {
    "AVIF": b"\0\0\0\x20ftypavif" + bytes(500), "PNG": b"\x89PNG\r\n\x1a\n" + bytes(40), "GIF": b"GIF89a",
    "JPEG": b"\xff\xd8\xff\xe0" + bytes(40), "BMP": b"BM" + bytes(60), "WebP": b"RIFF\0\0\0\0WEBPVP8 " + bytes(40),
}  # fmt: skip
SERVED = "JPEG, PNG, WebP, GIF, BMP or AVIF"


class TestPictureFormats:
    @pytest.mark.parametrize("name", NAMED_FORMATS)
    @pytest.mark.parametrize("media_type", ["image/png", "application/octet-stream"])
    def test_a_picture_of_another_format_is_refused_by_name_whatever_its_media_type(
        self, target: AttackedServer, name: str, media_type: str
    ) -> None:
        for data in NAMED_FORMATS[name]:
            assert refused_picture(target, data, media_type) == f"this is {name}; send {SERVED}"

    @pytest.mark.parametrize("name", OTHER_FORMATS)
    def test_a_file_of_an_unknown_format_is_refused(self, target: AttackedServer, name: str) -> None:
        assert refused_picture(target, OTHER_FORMATS[name]) == f"this is not a {SERVED} image"

    @pytest.mark.parametrize("name", EMPTY_FILES)
    def test_a_file_that_only_begins_like_a_picture_is_refused(self, target: AttackedServer, name: str) -> None:
        assert "damaged" in refused_picture(target, EMPTY_FILES[name])

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
    def test_a_picture_is_known_by_its_content_and_not_by_its_name(self, target: AttackedServer, kind: str) -> None:
        target.media_host.contents["video.mp4"] = encode(NOISE, kind)
        assert target.chat(media_part("image_url", target.media_url("content/video.mp4"))).status_code == 200


class TestPicturesAsSeen:
    @pytest.mark.parametrize(
        ("image", "kind", "colour"),
        [
            (Image.new("1", (8, 8), 1), "PNG", WHITE),
            (Image.new("L", (8, 8), 100), "PNG", (100, 100, 100)),
            (Image.new("LA", (8, 8), (0, 0)), "PNG", WHITE),
            (Image.new("LA", (8, 8), (0, 128)), "PNG", (127, 127, 127)),
            (Image.new("RGBA", (8, 8), (0, 0, 255, 0)), "PNG", WHITE),
            (Image.new("RGBA", (8, 8), (0, 0, 255, 128)), "WEBP", (127, 127, 255)),
            (Image.fromarray(np.full((8, 8), 51_400, np.uint16)), "PNG", (200, 200, 200)),
            (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", RED),
            (Image.new("RGB", (8, 8), GREEN).quantize(4), "PNG", GREEN),
            (Image.new("RGB", (8, 8), BLUE).quantize(4), "GIF", BLUE),
            (Image.new("RGB", (1, 1), RED), "PNG", RED),
            (Image.new("RGB", (1, 10_000), RED), "PNG", RED),
            (Image.new("RGB", (10_000, 1), RED), "BMP", RED),
            (Image.new("L", (1, 1), 7), "JPEG", (7, 7, 7)),
        ],
        ids=lambda value: f"{value.mode} {value.size}" if isinstance(value, Image.Image) else "",
    )
    def test_the_model_sees_the_colours_that_a_person_sees(
        self, target: AttackedServer, image: Image.Image, kind: str, colour: tuple[int, ...]
    ) -> None:
        assert np.abs(view_of(target, encode(image, kind)).astype(int) - colour).max() <= 3

    def test_colours_under_full_transparency_stay_hidden(self, target: AttackedServer) -> None:
        pixels = np.zeros((64, 64, 4), np.uint8)
        pixels[..., :3] = np.asarray(NOISE.resize((64, 64)))
        assert (view_of(target, encode(Image.fromarray(pixels))) == 255).all()
        palette = Image.new("P", (8, 8), 1)
        palette.putpalette([*BLACK, *RED])
        assert (view_of(target, encode(palette, transparency=1)) == 255).all()

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
    @pytest.mark.parametrize(
        ("orientation", "corner"), [(1, (0, 0)), (3, (1, 1)), (6, (0, 1)), (8, (1, 0)), (9, (0, 0))]
    )
    def test_a_picture_that_exif_turns_is_seen_turned(
        self, target: AttackedServer, kind: str, orientation: int, corner: tuple[int, int]
    ) -> None:
        image = Image.new("RGB", (64, 64), WHITE)
        image.paste(RED, (0, 0, 32, 32))
        exif = Image.Exif()
        exif[0x0112] = orientation
        view = view_of(target, encode(image, kind, exif=exif))
        quarters = {(y, x): view[28 + 56 * y, 28 + 56 * x] for y in (0, 1) for x in (0, 1)}
        assert [quarter for quarter, colour in quarters.items() if colour[1] < 99] == [corner]


class TestDamagedPictures:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
    def test_a_picture_that_is_cut_short_is_an_error_and_no_partial_picture(
        self, target: AttackedServer, kind: str, share: float
    ) -> None:
        data = encode(NOISE, kind)
        before = len(target.engine.asked)
        refused_picture(target, data[: int(len(data) * share)])
        assert len(target.engine.asked) == before

    @pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
    def test_broken_exif_data_is_ignored_or_refused(self, target: AttackedServer, exif: bytes) -> None:
        response = target.chat(media_part("image_url", data_url(encode(NOISE, "JPEG", exif=b"Exif\0\0" + exif))))
        assert response.status_code == 200 or assert_refused(response, param=IMAGE)

    @pytest.mark.parametrize("payload", ["", "=", "AAAA", "iVBORw0KGgo=", "R0lGODlhAQABAAAAACw=", "/9j/4AAQ", "Qk0="])
    def test_a_picture_of_a_few_bytes_is_refused(self, target: AttackedServer, payload: str) -> None:
        assert_refused(target.chat(media_part("image_url", f"data:image/png;base64,{payload}")), param=IMAGE)
