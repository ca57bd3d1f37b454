"""Attacks 8 to 13: what the server is told to decode."""

import io
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support import attacked_server, damaged_videos, scene_parts
from tests.support.attacked_server import Attacked, data_url, part, refusal

IMAGE, VIDEO = "messages[0].content[0].image_url.url", "messages[0].content[0].video_url.url"
OPTIONS = VIDEO.removesuffix(".url")
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def refused(target: Attacked, data: bytes, kind: str = "image/png") -> str:
    """How the server refuses an image."""
    return refusal(target.ask(part("image_url", data_url(data, kind))), param=IMAGE)


def refused_video(target: Attacked, data: bytes, param: str = VIDEO, **options: Any) -> str:
    return refusal(target.ask(part("video_url", data_url(data, "video/mp4"), **options)), param=param)


def seen(target: Attacked, data: bytes) -> np.ndarray:
    """What the model is shown of an image: uint8 [S, S, 3]."""
    answer = target.ask(part("image_url", data_url(data)))
    assert answer.status_code == 200, answer.text
    (visual,) = target.engine.asked[-1][1]
    return visual.views[0]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *more: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that announces a size and holds what is given."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IEND", b"")


def bombs() -> dict[str, bytes]:
    """Small files that say that they are large pictures."""
    zeros = chunk(b"IDAT", zlib.compress(bytes(3_000_000)))
    webp, gif, bmp, jpeg = (bytearray(saved(NOISE, kind)) for kind in ("WEBP", "GIF", "BMP", "JPEG"))
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16_382).to_bytes(3, "little") * 2
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    frame = bytearray(saved(NOISE, "GIF"))
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


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = saved(Image.new("L", (2000, 2000), 128), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + data[-2:]


class Test08:
    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize("name", bombs())
    def test_08_a_small_file_that_is_a_large_picture_is_refused_by_its_header(
        self, target: Attacked, name: str
    ) -> None:
        message = refused(target, bombs()[name])
        assert "pixels" in message or "damaged" in message

    def test_08_pillows_own_guard_stays_on(self, target: Attacked) -> None:
        assert Image.MAX_IMAGE_PIXELS is not None
        assert Image.MAX_IMAGE_PIXELS < 200_000_000

    def test_08_nor_is_text_in_a_png_inflated_without_end(self, target: Attacked) -> None:
        text = zlib.compress(bytes(1_000_000), 9)
        pixels = chunk(b"IDAT", zlib.compress(bytes(4)))
        texts = [chunk(b"zTXt", b"%d\0\0" % number + text) for number in range(80)]
        refused(target, png(1, 1, *texts, pixels))
        refused(target, png(1, 1, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50_000_000), 9)), pixels))

    def test_08_a_picture_of_many_passes_is_refused_before_the_first(self, target: Attacked) -> None:
        assert "scans" in refused(target, scans(300))
        assert seen(target, scans(0)).shape == (112, 112, 3)

    def test_08_nor_are_pieces_of_metadata_joined_one_by_one(self, target: Attacked) -> None:
        data = saved(NOISE, "JPEG")
        assert "Exif" in refused(target, data[:2] + b"\xff\xe1\x00\x09Exif\0\0a" * 10_000 + data[2:])

    def test_08_an_animation_of_many_frames_costs_one(self, target: Attacked) -> None:
        frames = [Image.new("P", (8, 8), number % 200) for number in range(500)]
        for kind in ("GIF", "WEBP", "PNG"):
            data = saved(frames[0].convert("RGB"), kind, save_all=True, append_images=frames[1:])
            assert seen(target, data).shape == (112, 112, 3)


FOREIGN = {
    "TIFF": saved(NOISE, "TIFF"), "JPEG 2000": saved(NOISE, "JPEG2000"), "ICO": saved(NOISE, "ICO"),
    "PPM": saved(NOISE, "PPM"), "TGA": saved(NOISE, "TGA"), "PCX": saved(NOISE, "PCX"), "SGI": saved(NOISE, "SGI"),
    "EPS": saved(NOISE, "EPS"), "PDF": saved(NOISE, "PDF"), "AVIF": b"\0\0\0\x20ftypavif" + bytes(500),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "PostScript": b"%!PS\n(/etc/passwd) (r) file\n", "HTML": b"<html>", "nothing": b"\0" * 100, "text": b"hello",
    "ZIP": b"PK\3\4" + bytes(100), "WMF": b"\xd7\xcd\xc6\x9a" + bytes(100), "FLI": b"\0\0\0\0\x11\xaf" + bytes(122),
    "a film": damaged_videos.write("mp4", 3),
}  # fmt: skip
FOREIGN_FILMS = {
    "a picture": saved(NOISE), "an animation": saved(NOISE, "GIF"), "WAV": b"RIFF\x24\0\0\0WAVEfmt " + bytes(100),
    "MP3": b"ID3\4" + bytes(500), "MPEG-TS": (b"G" + bytes(187)) * 50, "MPEG-PS": b"\0\0\1\xba" + bytes(500),
    "FLV": b"FLV\1\5\0\0\0\x09" + bytes(500), "Ogg": b"OggS" + bytes(500), "ASF": b"0&\xb2u\x8ef\xcf\x11" + bytes(500),
    "H.264 alone": b"\0\0\0\1\x67" + bytes(500), "a playlist": b"#EXTM3U\n", "an edit list": b"ffconcat version 1.0\n",
    "DASH": b"<MPD/>", "SDP": b"v=0\r\n", "subtitles": b"WEBVTT\n", "Y4M": b"YUV4MPEG2 W4 H4\nFRAME\n",
}  # fmt: skip


class Test09:
    @pytest.mark.parametrize("name", FOREIGN)
    @pytest.mark.parametrize("kind", ["image/png", "application/octet-stream"])
    def test_09_an_image_of_another_format_is_refused_whatever_it_says_it_is(
        self, target: Attacked, name: str, kind: str
    ) -> None:
        assert "not a JPEG, PNG, WebP, GIF or BMP" in refused(target, FOREIGN[name], kind)

    @pytest.mark.parametrize("name", FOREIGN_FILMS)
    def test_09_and_so_is_a_video(self, target: Attacked, name: str) -> None:
        assert "not an MP4, MOV, WebM, MKV or AVI" in refused_video(target, FOREIGN_FILMS[name])

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
    def test_09_what_is_served_is_known_by_its_content(self, target: Attacked, kind: str) -> None:
        target.outside.contents["film.mp4"] = saved(NOISE, kind)
        assert target.ask(part("image_url", target.out("content/film.mp4"))).status_code == 200

    @pytest.mark.parametrize("kind", damaged_videos.CODES)
    def test_09_and_so_are_videos(self, target: Attacked, kind: str) -> None:
        target.outside.contents["picture.png"] = damaged_videos.write(kind, 5)
        assert target.ask(part("video_url", target.out("content/picture.png"))).status_code == 200

    def test_09_a_video_that_points_elsewhere_for_its_pictures_leads_nowhere(self, target: Attacked) -> None:
        film, own = damaged_videos.write("mp4", 3), b"url \0\0\0\1"
        for where in (target.secret().encode(), b"file:///etc/passwd", str(target.folder).encode()):
            entry = b"url \0\0\0\0" + where + b"\0"
            sized = struct.pack(">I", 4 + len(entry)) + entry
            path = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")
            film = damaged_videos.inside(film, path, b"\0\0\0\x0c" + own, sized)
            assert target.ask(part("video_url", data_url(film, "video/mp4"))).status_code in (200, 400)
            film = damaged_videos.write("mp4", 3)


class Test10:
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
    def test_10_the_model_sees_what_a_person_sees(
        self, target: Attacked, image: Image.Image, kind: str, colour: tuple[int, ...]
    ) -> None:
        assert np.abs(seen(target, saved(image, kind)).astype(int) - colour).max() <= 3

    def test_10_what_is_hidden_under_full_transparency_stays_hidden(self, target: Attacked) -> None:
        pixels = np.zeros((64, 64, 4), np.uint8)
        pixels[..., :3] = np.asarray(NOISE.resize((64, 64)))
        assert (seen(target, saved(Image.fromarray(pixels))) == 255).all()
        palette = Image.new("P", (8, 8), 1)
        palette.putpalette([*BLACK, *RED])
        assert (seen(target, saved(palette, transparency=1)) == 255).all()

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    @pytest.mark.parametrize(
        ("orientation", "corner"), [(1, (0, 0)), (3, (1, 1)), (6, (0, 1)), (8, (1, 0)), (9, (0, 0))]
    )
    def test_10_a_turned_picture_is_seen_turned(
        self, target: Attacked, kind: str, orientation: int, corner: tuple[int, int]
    ) -> None:
        image = Image.new("RGB", (64, 64), WHITE)
        image.paste(RED, (0, 0, 32, 32))
        exif = Image.Exif()
        exif[0x0112] = orientation
        view = seen(target, saved(image, kind, exif=exif))
        quarters = {(y, x): view[28 + 56 * y, 28 + 56 * x] for y in (0, 1) for x in (0, 1)}
        assert [place for place, colour in quarters.items() if colour[1] < 99] == [corner]


class Test11:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
    def test_11_a_file_cut_short_is_an_error_and_no_partial_picture(
        self, target: Attacked, kind: str, share: float
    ) -> None:
        data = saved(NOISE, kind)
        before = len(target.engine.asked)
        refused(target, data[: int(len(data) * share)])
        assert len(target.engine.asked) == before

    @pytest.mark.parametrize("kind", damaged_videos.CODES)
    def test_11_nor_is_a_video_cut_short(self, target: Attacked, kind: str) -> None:
        film = damaged_videos.write(kind)
        before = len(target.engine.asked)
        for end in (12, 60, 200):
            refused_video(target, film[:end])
        assert len(target.engine.asked) == before

    @pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
    def test_11_broken_metadata_breaks_nothing(self, target: Attacked, exif: bytes) -> None:
        answer = target.ask(part("image_url", data_url(saved(NOISE, "JPEG", exif=b"Exif\0\0" + exif))))
        assert answer.status_code == 200 or refusal(answer, param=IMAGE)

    @pytest.mark.parametrize("payload", ["", "=", "AAAA", "iVBORw0KGgo=", "R0lGODlhAQABAAAAACw=", "/9j/4AAQ", "Qk0="])
    def test_11_hardly_anything_is_an_error(self, target: Attacked, payload: str) -> None:
        refusal(target.ask(part("image_url", f"data:image/png;base64,{payload}")), param=IMAGE)


FILM = damaged_videos.write("mp4")
IN_TABLE = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def strange_films() -> dict[str, bytes]:
    """Films that are not what their headers say, or that say nothing."""
    avi = damaged_videos.write("avi", 5)
    times = b"stts" + struct.pack(">6I", 0, 1, 20, 1024, 0, 0)[:16]
    two_rates = b"stts" + struct.pack(">6I", 0, 2, 10, 512, 10, 4096)
    large = bytearray(avi)
    while (at := large.find(b"\xff\xc0\x00\x11\x08\x00\x30")) >= 0:
        large[at + 5 : at + 9] = struct.pack(">HH", 16_000, 16_000)
    with_no_time = damaged_videos.with_field(
        damaged_videos.with_field(FILM, b"mvhd", 16, bytes(4)), b"mdhd", 16, bytes(4)
    )
    many = damaged_videos.with_field(
        damaged_videos.with_field(FILM, b"stts", 8, struct.pack(">I", 10**7)), b"stsz", 4, b"\0\0\0\1"
    )
    many = damaged_videos.with_field(many, b"stsz", 8, struct.pack(">I", 10**7))
    return {
        "of no duration": with_no_time,
        "of a variable rate": damaged_videos.inside(FILM, (*IN_TABLE, b"stts"), times[4:], two_rates[4:]),
        "of no time between frames": damaged_videos.with_field(FILM, b"stts", 12, bytes(4)),
        "of a negative time between frames": damaged_videos.with_field(FILM, b"stts", 12, b"\xff" * 4),
        "of a time scale of 0": damaged_videos.with_field(FILM, b"mdhd", 12, bytes(4)),
        "of ten million frames": many,
        "of ten million frames, AVI": damaged_videos.with_field(avi, b"avih", 20, struct.pack("<I", 10**7)),
        "of four billion frames": damaged_videos.with_field(FILM, b"stsz", 8, b"\xff" * 4),
        "of 16,000 x 16,000": bytes(large),
        "of 65,535 x 65,535": damaged_videos.with_field(
            damaged_videos.with_field(FILM, b"mp4v", 24, b"\xff" * 4), b"tkhd", 76, b"\xff" * 8
        ),
        "of sound alone": FILM.replace(b"vide\0", b"soun\0"),
        "of no track": FILM.replace(b"trak", b"free"),
        "whose frames are elsewhere": damaged_videos.with_field(FILM, b"stco", 8, b"\x7f\xff\xff\xff"),
        "whose frames are its header": damaged_videos.with_field(FILM, b"stco", 8, bytes(4)),
        "whose frames are empty": damaged_videos.with_field(FILM, b"stsz", 12, bytes(80)),
        "without an index": avi[: avi.index(b"idx1")],
        "with a wrong index": avi[: avi.index(b"idx1") + 8] + b"\xff" * 80,
        "of an unknown codec": FILM.replace(b"mp4v", b"zzzz"),
        "of atoms in atoms": b"\0\0\0\x08ftyp" + b"\x7f\xff\xff\xffmoov" * 5000,
        "of an atom of no size": FILM[:40] + bytes(8) + FILM[40:],
        "of a Matroska head alone": b"\x1a\x45\xdf\xa3\xff" + b"\xff" * 500,
    }  # fmt: skip


class Test12:
    @pytest.mark.parametrize(
        ("options", "name"),
        [
            ({"num_frames": -1}, "num_frames"), ({"num_frames": 0}, "num_frames"),
            ({"num_frames": 10**9}, "num_frames"), ({"num_frames": 10**30}, "num_frames"),
            ({"num_frames": 1.5}, "num_frames"),
            ({"num_frames": "7"}, "num_frames"), ({"num_frames": True}, "num_frames"), ({"fps": 0}, "fps"),
            ({"fps": -1}, "fps"), ({"fps": 5e-324, "num_frames": 2}, ""),
            ({"fps": "many"}, "fps"), ({"start": -1}, "start"), ({"start": 1e300}, "start"), ({"end": 0}, "end"),
            ({"end": True}, "end"),
            ({"fps": "2"}, "fps"),
            ({"start": 1.0, "end": 0.5}, ""), ({"pooling": "max", "pool_stride": 10**9}, "pool_stride"),
            ({"fps": 1e6, "end": 1.0}, "fps"),
        ],
    )  # fmt: skip
    def test_12_an_impossible_sampling_names_its_option(
        self, target: Attacked, options: dict[str, Any], name: str
    ) -> None:
        refused_video(target, FILM, f"{OPTIONS}.{name}".rstrip("."), **options)

    def test_12_a_rate_beyond_all_frames_gives_all_frames(self, target: Attacked) -> None:
        for options in ({"fps": 1e9}, {"fps": 1e300, "end": 1e300}, {"fps": 1e308, "start": 0.5}):
            answer = target.ask(part("video_url", data_url(FILM, "video/mp4"), **options))
            assert answer.json()["media_usage"]["visuals"] == (15 if "start" in options else 20)

    @pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
    @pytest.mark.parametrize("option", ["fps", "start", "end"])
    def test_12_no_number_that_is_none_gets_in(self, target: Attacked, option: str, value: str) -> None:
        asked = attacked_server.request(part("video_url", data_url(FILM, "video/mp4"), **{option: "VALUE"}))
        body = json.dumps(asked).replace('"VALUE"', value)
        answer = target.client.post(attacked_server.CHAT, content=body, headers={"Content-Type": "application/json"})
        refusal(answer, param=f"{OPTIONS}.{option}" if value == "1e999" else None)

    @pytest.mark.parametrize("name", strange_films())
    def test_12_a_strange_film_is_read_or_refused_and_never_more(self, target: Attacked, name: str) -> None:
        answer = target.ask(part("video_url", data_url(strange_films()[name], "video/mp4"), num_frames=4))
        if answer.status_code == 200:
            assert 1 <= answer.json()["media_usage"]["visuals"] <= 4
        else:
            refusal(answer, param=VIDEO)

    @pytest.mark.parametrize("name", ["of sound alone", "of no track", "of 16,000 x 16,000"])
    def test_12_a_film_without_pictures_that_can_be_read_is_refused(self, target: Attacked, name: str) -> None:
        refused_video(target, strange_films()[name])

    def test_12_one_frame_is_enough(self, target: Attacked) -> None:
        for options in ({}, {"num_frames": 100}, {"fps": 1000}):
            answer = target.ask(part("video_url", data_url(damaged_videos.write("mp4", 1), "video/mp4"), **options))
            assert answer.json()["media_usage"]["visuals"] == 1


class Test13:
    @pytest.mark.parametrize(("kind", "list_of"), [("video_frames", "frames"), ("multi_view", "views")])
    def test_13_an_empty_list_is_refused(self, target: Attacked, kind: str, list_of: str) -> None:
        for options in ({list_of: []}, {}, {list_of: None}, {list_of: "x"}, {list_of: {}}):
            refusal(target.ask({"type": kind, kind: options}), param=f"messages[0].content[0].{kind}.{list_of}")

    @pytest.mark.parametrize(("kind", "list_of"), [("video_frames", "frames"), ("multi_view", "views")])
    def test_13_one_is_enough_and_sizes_may_differ(self, target: Attacked, kind: str, list_of: str) -> None:
        urls = [data_url(saved(NOISE.resize(size))) for size in ((1, 1), (64, 3), (3, 640), (112, 112))]
        for some in (urls[:1], urls):
            answer = target.ask({"type": kind, kind: {list_of: [{"url": url} for url in some]}})
            assert answer.json()["media_usage"]["visuals"] == len(some)

    @pytest.mark.parametrize(("kind", "list_of"), [("video_frames", "frames"), ("multi_view", "views")])
    def test_13_one_too_many_is_refused_and_a_bad_one_is_named(self, target: Attacked, kind: str, list_of: str) -> None:
        good = {"url": data_url(saved(NOISE))}
        refusal(target.ask({"type": kind, kind: {list_of: [good] * 257}}), param=f"messages[0].content[0].{kind}")
        bad = {"url": data_url(b"no picture")}
        answer = target.ask({"type": kind, kind: {list_of: [good, good, bad]}})
        refusal(answer, param=f"messages[0].content[0].{kind}.{list_of}[2].url")

    def test_13_views_of_odd_names_are_text(self, target: Attacked) -> None:
        views = [{"url": scene_parts.image_url(1), "name": name} for name in ("<image>", "<|im_end|>", "\n\n", "a\0b")]
        assert target.ask(part("multi_view", views=views)).json()["media_usage"]["visuals"] == 4
        refusal(
            target.ask(part("multi_view", views=[{"url": scene_parts.image_url(1), "name": "x" * 201}])),
            param="messages[0].content[0].multi_view.views[0].name",
        )
