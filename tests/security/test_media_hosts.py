"""Media hosts that break HTTP or do not answer, requests of many URLs, and ways around the media loader."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llava_interleave_serve.server import app
from llava_interleave_serve.server.limits import Limits
from tests.support import attacked_server, scene_parts, source_imports
from tests.support.attacked_server import (
    CHAT,
    MEDIA_HOST,
    PLAN,
    AttackedServer,
    assert_refused,
    chat_body,
    data_url,
    media_part,
)

SERVER = Path(app.__file__).parent
REQUESTS, URLS = 12, 32
PATIENCE = 5.0  # seconds for a polite request, on however busy a machine; alone it takes a tenth of one
HELD = 20  # seconds that hostile hosts and name servers take


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
            pytest.param("garbage/", "proper HTTP|cannot be reached|not fetched within", id="no HTTP"),
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
        assert sorted(posts) == ["/detokenize", "/tokenize", CHAT, PLAN, "/v1/completions"]
        for path in posts:
            response = target.client.post(path, json=chat_body({"type": kind, kind: options}))
            assert response.status_code == (200 if path in (PLAN, "/tokenize") else 400)

    @pytest.mark.parametrize(
        "path",
        ["/tokenizer_info", "/v1/completions/render",
         "/v1/embeddings", "/v1/responses", "/v1/batches", "/v1/messages", "/score",
         "/v1/audio/transcriptions", "/invocations", "/pooling", "/load_lora_adapter", "/collective_rpc",
         "/v1/chat/completions/render"],
    )  # fmt: skip
    def test_no_route_of_vllms_own_server_is_open(self, target: AttackedServer, path: str) -> None:
        assert_refused(target.client.post(path, json=chat_body(media_part("image_url", target.internal_url()))), 404)

    def test_only_the_fetcher_imports_a_network_client(self) -> None:
        clients = {"httpx", "httpcore", "requests", "urllib", "urllib3", "aiohttp", "http"}
        importers = {file for file in SERVER.rglob("*.py") if clients & source_imports.top_level_packages(file)}
        assert {file.relative_to(SERVER).as_posix() for file in importers} == {
            "observability/tracing.py",  # parses the URL that spans go to
            "health_check.py",  # a command that asks the server's own URL
            "media/fetch.py",
            "media/guarded_network.py",
        }

    def test_a_playlist_is_refused_before_a_decoder_could_fetch_its_entries(self, target: AttackedServer) -> None:
        for text in ("#EXTM3U\n#EXTINF:1,\n{}\n", "ffconcat version 1.0\nfile {}\n", "v=0\nc=IN IP4 127.0.0.1\n{}"):
            response = target.chat(
                media_part("video_url", data_url(text.format(target.internal_url()).encode(), "video/mp4"))
            )
            assert "not an MP4" in assert_refused(response, param="messages[0].content[0].video_url.url")


@pytest.fixture
def name_servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of `slow.test` that have been looked up, whose look-ups hang until the test ends."""
    names: list[str] = []
    release = threading.Event()
    look_up = socket.getaddrinfo

    def slow(host: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(".slow.test"):
            names.append(host)
            release.wait(HELD)
            raise socket.gaierror
        return look_up(host, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", slow)
        yield names
        release.set()


@contextlib.contextmanager
def hostile_requests(target: AttackedServer, urls: list[str]) -> Iterator[None]:
    """Sends requests that show these URLs; the clients leave when the block ends."""
    with contextlib.ExitStack() as connections:
        for number in range(REQUESTS):
            views = [{"url": url} for url in urls[number * URLS : (number + 1) * URLS]]
            content = json.dumps(chat_body(media_part("multi_view", views=views))).encode()
            head = (
                f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hostile\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", target.server.port)))
            connection.sendall(head.encode() + content)
        yield


def ask(target: AttackedServer, *content: Any) -> None:
    """Asserts that a request of the polite client is answered soon."""
    headers = {"Authorization": "Bearer polite"}
    started = time.monotonic()
    response = httpx.post(target.server.url + CHAT, json=chat_body(*content), headers=headers, timeout=2 * HELD)
    assert response.status_code == 200, response.text
    assert time.monotonic() - started < PATIENCE


def ask_for_everything(target: AttackedServer) -> None:
    ask(target, scene_parts.text_part("x"))
    for number in range(3):
        ask(target, media_part("image_url", target.media_url(f"content/picture?{number}")))
    ask(target, media_part("image_url", target.media_url("content/picture?name", "0.example")))
    views = [{"url": target.media_url(f"content/picture?view{number}")} for number in range(16)]
    ask(target, media_part("multi_view", views=views))


class TestHostileNeighbours:
    @pytest.fixture
    def target(self, tmp_path: Path) -> Iterator[AttackedServer]:
        limits = Limits(max_key_share=0.8, read_timeout=HELD, fetch_timeout=HELD)
        with attacked_server.running(tmp_path, limits=limits, api_keys=("hostile", "polite")) as target:
            for number in range(REQUESTS * URLS):
                target.resolver.addresses[f"{number}.example"] = [[MEDIA_HOST]]
            yield target

    def test_hosts_that_do_not_answer_hold_up_no_other_key(self, target: AttackedServer) -> None:
        urls = [target.media_url(f"held/{HELD}?{number}", f"{number}.example") for number in range(REQUESTS * URLS)]
        with hostile_requests(target, urls):
            time.sleep(1)  # the server takes up what it does
            assert target.media_host.at_once > 3
            ask_for_everything(target)

    def test_a_host_that_does_not_answer_one_key_is_asked_for_another(self, target: AttackedServer) -> None:
        urls = [target.media_url(f"held/{HELD}?{number}") for number in range(REQUESTS * URLS)]
        with hostile_requests(target, urls):
            time.sleep(1)
            ask_for_everything(target)

    def test_name_servers_that_do_not_answer_hold_up_no_other_key_and_no_text(
        self, target: AttackedServer, name_servers: list[str]
    ) -> None:
        urls = [f"http://{number}.slow.test/" for number in range(REQUESTS * URLS)]
        for _ in range(3):  # the clients leave and come again; the look-ups stay
            with hostile_requests(target, urls):
                time.sleep(0.5)
        with hostile_requests(target, urls):
            time.sleep(0.5)
            assert len(name_servers) > 3
            ask_for_everything(target)


class TestFetchedBytes:
    def test_a_request_of_many_large_files_is_refused_at_its_bound(self, tmp_path: Path) -> None:
        limits = Limits(max_request_media_bytes=3_000_000, max_media_bytes=2_000_000)
        with attacked_server.running(tmp_path, limits=limits) as target:
            urls = [{"url": target.media_url(f"content/large?{number}")} for number in range(64)]
            target.media_host.contents["large"] = attacked_server.picture_bytes(1) + bytes(1_000_000)
            response = target.chat(media_part("multi_view", views=urls))
            assert "3000000 bytes together" in response.json()["error"]["message"]
            assert response.json()["error"]["code"] == "limit_exceeded"
            assert len(target.media_host.requested_paths) < 3 + limits.max_fetches_per_request
            target.assert_unharmed()

    def test_files_that_are_fetched_count_as_bytes_in_the_server(self, tmp_path: Path) -> None:
        limits = Limits(max_body_bytes=100_000, max_inflight_bytes=4_000_000, max_request_media_bytes=10**8)
        with attacked_server.running(tmp_path, limits=limits) as target:
            target.media_host.contents["large"] = attacked_server.picture_bytes(1) + bytes(1_500_000)
            one = target.chat(media_part("image_url", target.media_url("content/large")))
            assert one.status_code == 200
            target.media_host.contents["huge"] = attacked_server.picture_bytes(1) + bytes(5_000_000)
            response = target.chat(media_part("image_url", target.media_url("content/huge")))
            assert "room for" in response.json()["error"]["message"]
            target.assert_unharmed()
