"""Video files of other formats, with lying headers or damaged; impossible samplings; lists of frames and views."""

import json
import struct
from typing import Any

import pytest

from tests.support import damaged_videos, scene_parts
from tests.support.attacked_server import CHAT, AttackedServer, assert_refused, chat_body, data_url, media_part
from tests.support.image_files import NOISE, encode

VIDEO = "messages[0].content[0].video_url.url"
OPTIONS = VIDEO.removesuffix(".url")


def refused_video(target: AttackedServer, data: bytes, param: str = VIDEO, **options: Any) -> str:
    """Sends a video; asserts that it is refused because of `param` and returns the message."""
    return assert_refused(target.chat(media_part("video_url", data_url(data, "video/mp4"), **options)), param=param)


OTHER_FORMATS = {
    "a picture": encode(NOISE), "an animation": encode(NOISE, "GIF"), "WAV": b"RIFF\x24\0\0\0WAVEfmt " + bytes(100),
    "MP3": b"ID3\4" + bytes(500), "MPEG-TS": (b"G" + bytes(187)) * 50, "MPEG-PS": b"\0\0\1\xba" + bytes(500),
    "FLV": b"FLV\1\5\0\0\0\x09" + bytes(500), "Ogg": b"OggS" + bytes(500), "ASF": b"0&\xb2u\x8ef\xcf\x11" + bytes(500),
    "H.264 alone": b"\0\0\0\1\x67" + bytes(500), "a playlist": b"#EXTM3U\n", "an edit list": b"ffconcat version 1.0\n",
    "DASH": b"<MPD/>", "SDP": b"v=0\r\n", "subtitles": b"WEBVTT\n", "Y4M": b"YUV4MPEG2 W4 H4\nFRAME\n",
}  # fmt: skip


class TestVideoFormats:
    @pytest.mark.parametrize("name", OTHER_FORMATS)
    def test_a_video_of_another_format_is_refused(self, target: AttackedServer, name: str) -> None:
        assert "not an MP4, MOV, WebM, MKV or AVI" in refused_video(target, OTHER_FORMATS[name])

    @pytest.mark.parametrize("kind", damaged_videos.CODES)
    def test_a_video_is_known_by_its_content_and_not_by_its_name(self, target: AttackedServer, kind: str) -> None:
        target.media_host.contents["picture.png"] = damaged_videos.write(kind, 5)
        assert target.chat(media_part("video_url", target.media_url("content/picture.png"))).status_code == 200

    def test_a_video_that_refers_to_another_file_reads_nothing_there(self, target: AttackedServer) -> None:
        video, own_file = damaged_videos.write("mp4", 3), b"url \0\0\0\1"
        path = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")
        for location in (target.internal_url().encode(), b"file:///etc/passwd", str(target.allowed_folder).encode()):
            entry = b"url \0\0\0\0" + location + b"\0"
            sized = struct.pack(">I", 4 + len(entry)) + entry
            referring = damaged_videos.inside(video, path, b"\0\0\0\x0c" + own_file, sized)
            assert target.chat(media_part("video_url", data_url(referring, "video/mp4"))).status_code in (200, 400)


VIDEO_FILE = damaged_videos.write("mp4")
SAMPLE_TABLE = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def lying_videos() -> dict[str, bytes]:
    """Video files whose headers are wrong, contradictory or missing."""
    avi = damaged_videos.write("avi", 5)
    times = b"stts" + struct.pack(">6I", 0, 1, 20, 1024, 0, 0)[:16]
    two_rates = b"stts" + struct.pack(">6I", 0, 2, 10, 512, 10, 4096)
    large = bytearray(avi)
    while (start := large.find(b"\xff\xc0\x00\x11\x08\x00\x30")) >= 0:
        large[start + 5 : start + 9] = struct.pack(">HH", 16_000, 16_000)
    with_no_time = damaged_videos.with_field(
        damaged_videos.with_field(VIDEO_FILE, b"mvhd", 16, bytes(4)), b"mdhd", 16, bytes(4)
    )
    many = damaged_videos.with_field(
        damaged_videos.with_field(VIDEO_FILE, b"stts", 8, struct.pack(">I", 10**7)), b"stsz", 4, b"\0\0\0\1"
    )
    many = damaged_videos.with_field(many, b"stsz", 8, struct.pack(">I", 10**7))
    return {
        "of no duration": with_no_time,
        "of a variable rate": damaged_videos.inside(VIDEO_FILE, (*SAMPLE_TABLE, b"stts"), times[4:], two_rates[4:]),
        "of no time between frames": damaged_videos.with_field(VIDEO_FILE, b"stts", 12, bytes(4)),
        "of a negative time between frames": damaged_videos.with_field(VIDEO_FILE, b"stts", 12, b"\xff" * 4),
        "of a time scale of 0": damaged_videos.with_field(VIDEO_FILE, b"mdhd", 12, bytes(4)),
        "of ten million frames": many,
        "of ten million frames, AVI": damaged_videos.with_field(avi, b"avih", 20, struct.pack("<I", 10**7)),
        "of four billion frames": damaged_videos.with_field(VIDEO_FILE, b"stsz", 8, b"\xff" * 4),
        "of 16,000 x 16,000": bytes(large),
        "of 65,535 x 65,535": damaged_videos.with_field(
            damaged_videos.with_field(VIDEO_FILE, b"mp4v", 24, b"\xff" * 4), b"tkhd", 76, b"\xff" * 8
        ),
        "of sound alone": VIDEO_FILE.replace(b"vide\0", b"soun\0"),
        "of no track": VIDEO_FILE.replace(b"trak", b"free"),
        "whose frames are elsewhere": damaged_videos.with_field(VIDEO_FILE, b"stco", 8, b"\x7f\xff\xff\xff"),
        "whose frames are its header": damaged_videos.with_field(VIDEO_FILE, b"stco", 8, bytes(4)),
        "whose frames are empty": damaged_videos.with_field(VIDEO_FILE, b"stsz", 12, bytes(80)),
        "without an index": avi[: avi.index(b"idx1")],
        "with a wrong index": avi[: avi.index(b"idx1") + 8] + b"\xff" * 80,
        "of an unknown codec": VIDEO_FILE.replace(b"mp4v", b"zzzz"),
        "of atoms in atoms": b"\0\0\0\x08ftyp" + b"\x7f\xff\xff\xffmoov" * 5000,
        "of an atom of no size": VIDEO_FILE[:40] + bytes(8) + VIDEO_FILE[40:],
        "of a Matroska head alone": b"\x1a\x45\xdf\xa3\xff" + b"\xff" * 500,
    }  # fmt: skip


class TestDamagedVideos:
    @pytest.mark.parametrize("kind", damaged_videos.CODES)
    def test_a_video_that_is_cut_short_is_refused(self, target: AttackedServer, kind: str) -> None:
        video = damaged_videos.write(kind)
        before = len(target.engine.asked)
        for end in (12, 60, 200):
            refused_video(target, video[:end])
        assert len(target.engine.asked) == before

    @pytest.mark.parametrize("name", lying_videos())
    def test_a_video_with_a_lying_header_is_decoded_or_refused(self, target: AttackedServer, name: str) -> None:
        response = target.chat(media_part("video_url", data_url(lying_videos()[name], "video/mp4"), num_frames=4))
        if response.status_code == 200:
            assert 1 <= response.json()["media_usage"]["visuals"] <= 4
        else:
            assert_refused(response, param=VIDEO)

    @pytest.mark.parametrize("name", ["of sound alone", "of no track", "of 16,000 x 16,000"])
    def test_a_video_without_a_readable_picture_is_refused(self, target: AttackedServer, name: str) -> None:
        refused_video(target, lying_videos()[name])

    def test_a_video_of_one_frame_is_decoded(self, target: AttackedServer) -> None:
        for options in ({}, {"num_frames": 100}, {"fps": 1000}):
            response = target.chat(
                media_part("video_url", data_url(damaged_videos.write("mp4", 1), "video/mp4"), **options)
            )
            assert response.json()["media_usage"]["visuals"] == 1


class TestVideoSampling:
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
    def test_an_impossible_sampling_option_is_refused_by_name(
        self, target: AttackedServer, options: dict[str, Any], name: str
    ) -> None:
        refused_video(target, VIDEO_FILE, f"{OPTIONS}.{name}".rstrip("."), **options)

    def test_a_rate_above_that_of_the_video_gives_every_frame(self, target: AttackedServer) -> None:
        samplings: tuple[dict[str, float], ...] = (
            {"fps": 1e9},
            {"fps": 1e300, "end": 1e300},
            {"fps": 1e308, "start": 0.5},
        )
        for options in samplings:
            response = target.chat(media_part("video_url", data_url(VIDEO_FILE, "video/mp4"), **options))
            assert response.json()["media_usage"]["visuals"] == (15 if "start" in options else 20)

    @pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
    @pytest.mark.parametrize("option", ["fps", "start", "end"])
    def test_nan_and_infinity_are_no_sampling_options(self, target: AttackedServer, option: str, value: str) -> None:
        body = chat_body(media_part("video_url", data_url(VIDEO_FILE, "video/mp4"), **{option: "VALUE"}))
        content = json.dumps(body).replace('"VALUE"', value)
        response = target.client.post(CHAT, content=content, headers={"Content-Type": "application/json"})
        assert_refused(response, param=f"{OPTIONS}.{option}" if value == "1e999" else None)


class TestFrameListsAndViewSets:
    @pytest.mark.parametrize(("kind", "list_of"), [("video_frames", "frames"), ("multi_view", "views")])
    def test_an_empty_list_of_frames_or_views_is_refused(self, target: AttackedServer, kind: str, list_of: str) -> None:
        invalid: tuple[dict[str, Any], ...] = ({list_of: []}, {}, {list_of: None}, {list_of: "x"}, {list_of: {}})
        for options in invalid:
            assert_refused(target.chat({"type": kind, kind: options}), param=f"messages[0].content[0].{kind}.{list_of}")

    @pytest.mark.parametrize(("kind", "list_of"), [("video_frames", "frames"), ("multi_view", "views")])
    def test_one_frame_or_view_is_enough_and_sizes_may_differ(
        self, target: AttackedServer, kind: str, list_of: str
    ) -> None:
        urls = [data_url(encode(NOISE.resize(size))) for size in ((1, 1), (64, 3), (3, 640), (112, 112))]
        for sent in (urls[:1], urls):
            response = target.chat({"type": kind, kind: {list_of: [{"url": url} for url in sent]}})
            assert response.json()["media_usage"]["visuals"] == len(sent)

    @pytest.mark.parametrize(("kind", "list_of"), [("video_frames", "frames"), ("multi_view", "views")])
    def test_too_many_frames_or_views_are_refused_and_a_bad_one_is_named(
        self, target: AttackedServer, kind: str, list_of: str
    ) -> None:
        good = {"url": data_url(encode(NOISE))}
        assert_refused(
            target.chat({"type": kind, kind: {list_of: [good] * 257}}), param=f"messages[0].content[0].{kind}"
        )
        bad = {"url": data_url(b"not a picture")}
        response = target.chat({"type": kind, kind: {list_of: [good, good, bad]}})
        assert_refused(response, param=f"messages[0].content[0].{kind}.{list_of}[2].url")

    def test_the_name_of_a_view_is_text_and_of_limited_length(self, target: AttackedServer) -> None:
        views = [{"url": scene_parts.image_url(1), "name": name} for name in ("<image>", "<|im_end|>", "\n\n", "a\0b")]
        assert target.chat(media_part("multi_view", views=views)).json()["media_usage"]["visuals"] == 4
        assert_refused(
            target.chat(media_part("multi_view", views=[{"url": scene_parts.image_url(1), "name": "x" * 201}])),
            param="messages[0].content[0].multi_view.views[0].name",
        )
