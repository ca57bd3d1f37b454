"""Media hosts that break HTTP, requests that point many URLs at one host, and ways around the media loader."""

from pathlib import Path

import pytest

from llava_interleave_serve.server import app
from tests.support import scene_parts, source_imports
from tests.support.attacked_server import CHAT, PLAN, AttackedServer, assert_refused, chat_body, data_url, media_part

SERVER = Path(app.__file__).parent


class TestHostileMediaHosts:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            pytest.param("endless/", "larger than", id="a body without an end"),
            pytest.param("slow/", "not fetched within|does not answer", id="one byte at a time"),
            pytest.param("silent/", "does not answer", id="no answer"),
            pytest.param("length/99999999999999999999", "larger than", id="an announced flood"),
            pytest.param("length/-5", "proper HTTP|cannot be reached", id="a negative length"),
            pytest.param("length/many", "proper HTTP|cannot be reached", id="a length that is no number"),
            pytest.param("short/", "proper HTTP|cannot be reached", id="less than announced"),
            pytest.param("long/", "not a JPEG|proper HTTP", id="more than announced"),
            pytest.param("gzip/", "compression", id="a gzip bomb"),
            pytest.param("loop/", "redirects more than", id="a redirect loop"),
            pytest.param("redirect/4", "redirects more than", id="four redirects"),
            pytest.param("nowhere/", "answered 302", id="a redirect to nowhere"),
            pytest.param("interim/", "not fetched within|proper HTTP", id="interim answers without an end"),
            pytest.param("headers/", "proper HTTP", id="headers without an end"),
            pytest.param("garbage/", "proper HTTP", id="no HTTP"),
            pytest.param("status/500", "answered 500", id="an error"),
        ],
    )
    def test_a_hostile_response_is_a_400_of_the_part_that_named_the_url(
        self, target: AttackedServer, path: str, expected: str
    ) -> None:
        response = target.chat(scene_parts.image_part(1), media_part("image_url", target.media_url(path)))
        message = assert_refused(response, param="messages[0].content[1].image_url.url")
        assert any(words in message for words in expected.split("|")), message


class TestManyUrls:
    @pytest.mark.parametrize("kind", ["image_url", "video_url"])
    def test_ten_thousand_parts_that_point_at_one_host_are_refused_before_any_fetch(
        self, target: AttackedServer, kind: str
    ) -> None:
        before = len(target.media_host.requested_paths)
        parts = [media_part(kind, target.media_url(f"bytes/{number}")) for number in range(10_000)]
        assert "more than the" in assert_refused(target.chat(*parts), param=f"messages[0].content[64].{kind}")
        assert len(target.media_host.requested_paths) == before

    @pytest.mark.parametrize(("kind", "list_of"), [("multi_view", "views"), ("video_frames", "frames")])
    def test_ten_thousand_frames_or_views_are_refused_before_any_fetch(
        self, target: AttackedServer, kind: str, list_of: str
    ) -> None:
        before = len(target.media_host.requested_paths)
        urls = [{"url": target.media_url(f"bytes/{number}")} for number in range(10_000)]
        assert_refused(target.chat(media_part(kind, **{list_of: urls})), param=f"messages[0].content[0].{kind}")
        assert len(target.media_host.requested_paths) == before

    def test_visuals_that_cannot_fit_the_context_are_refused_before_any_fetch(self, target: AttackedServer) -> None:
        before = len(target.media_host.requested_paths)
        views = [{"url": target.media_url(f"bytes/{number}")} for number in range(200)]
        assert "context" in assert_refused(target.chat(media_part("multi_view", views=views)), param="messages")
        assert len(target.media_host.requested_paths) == before


class TestRoutesThatTakeMedia:
    @pytest.mark.parametrize("kind", ["image_url", "video_url", "video_frames", "multi_view"])
    def test_every_route_that_takes_media_uses_the_one_loader(self, target: AttackedServer, kind: str) -> None:
        url = target.internal_url()
        urls = [{"url": url}]
        options = {"video_frames": {"frames": urls}, "multi_view": {"views": urls}}.get(kind, {"url": url})
        posts = [
            path for path, methods in target.client.get("/openapi.json").json()["paths"].items() if "post" in methods
        ]
        assert sorted(posts) == [CHAT, PLAN]
        for path in posts:
            response = target.client.post(path, json=chat_body({"type": kind, kind: options}))
            assert response.status_code == (200 if path == PLAN else 400)

    @pytest.mark.parametrize(
        "path",
        ["/tokenize", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/batches", "/v1/messages", "/score",
         "/v1/audio/transcriptions", "/invocations", "/pooling", "/load_lora_adapter", "/collective_rpc",
         "/v1/chat/completions/render"],
    )  # fmt: skip
    def test_no_route_of_vllms_own_server_is_open(self, target: AttackedServer, path: str) -> None:
        assert_refused(target.client.post(path, json=chat_body(media_part("image_url", target.internal_url()))), 404)

    def test_only_the_fetcher_imports_a_network_client(self) -> None:
        clients = {"httpx", "httpcore", "requests", "urllib", "urllib3", "aiohttp", "http"}
        importers = {file for file in SERVER.rglob("*.py") if clients & source_imports.top_level_packages(file)}
        assert {file.relative_to(SERVER).as_posix() for file in importers} == {
            "media/fetch.py",
            "media/guarded_network.py",
        }

    def test_a_playlist_is_refused_before_a_decoder_could_fetch_its_entries(self, target: AttackedServer) -> None:
        for text in ("#EXTM3U\n#EXTINF:1,\n{}\n", "ffconcat version 1.0\nfile {}\n", "v=0\nc=IN IP4 127.0.0.1\n{}"):
            response = target.chat(
                media_part("video_url", data_url(text.format(target.internal_url()).encode(), "video/mp4"))
            )
            assert "not an MP4" in assert_refused(response, param="messages[0].content[0].video_url.url")
