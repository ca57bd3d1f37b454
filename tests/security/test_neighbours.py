"""Clients whose media hosts and name servers do not answer, beside a client with another key."""

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

from llava_interleave_serve.server.limits import Limits
from tests.support import attacked_server, scene_parts
from tests.support.attacked_server import CHAT, MEDIA_HOST, AttackedServer, chat_body, media_part

REQUESTS, URLS = 12, 32
PATIENCE = 5.0  # seconds for a polite request, on however busy a machine; alone it takes a tenth of one
HELD = 20  # seconds that hostile hosts and name servers take


@pytest.fixture
def target(tmp_path: Path) -> Iterator[AttackedServer]:
    limits = Limits(max_key_share=0.8, read_timeout=HELD, fetch_timeout=HELD)
    with attacked_server.running(tmp_path, limits=limits, api_keys=("hostile", "polite")) as target:
        for number in range(REQUESTS * URLS):
            target.resolver.addresses[f"{number}.example"] = [[MEDIA_HOST]]
        yield target


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
