"""Attempts to be served without an API key, to have work done before it is checked, and to learn of other keys."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from llava_interleave_serve.server.limits import Limits
from tests.support import attacked_server, demo_server, scene_parts
from tests.support.attacked_server import (
    CHAT,
    PLAN,
    AttackedServer,
    assert_refused,
    chat_body,
    data_url,
    media_part,
    status_of,
)
from tests.support.demo_server import RunningServer
from tests.support.image_files import encode

KEY, OTHER_KEY = "right", "other"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedServer]:
    """A server with two API keys."""
    with attacked_server.running(tmp_path_factory.mktemp("allowed"), api_keys=(KEY, OTHER_KEY)) as target:
        yield target


class TestApiKeys:
    PATHS = (
        CHAT, PLAN, "/v1/models", "/v1/models/fake", "/metrics", "/docs/absent", "/playground/absent", "/absent",
        "/v1/completions", "/tokenize", "/detokenize", "/version",
    )  # fmt: skip

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "PUT", "TRACE", "PROPFIND"])
    def test_every_route_but_health_needs_an_api_key(self, locked: AttackedServer, path: str, method: str) -> None:
        response = locked.client.request(method, path, headers={"Authorization": ""})
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert method == "HEAD" or assert_refused(response, 401)

    @pytest.mark.parametrize(
        "path",
        ["//v1/models", "/V1/models", "/v1/Models", "/v1%2fmodels", "/v1/./models", "/v1/x/../models", "/v1/models/",
         "/v1/models?key=right", "/v1/models#/health", "/v1/models;/health", "/health/../v1/models", "/health/",
         "/health%2f..%2fv1/models", "/health;/v1/models", "//health", "/HEALTH", "/health/v1/models", "/healthz",
         "/health%00", "/health%20", "/./health/../metrics", "/ready/metrics", "/metrics/", "/%6detrics",
         "/%2e%2e/metrics", "http://x/v1/models", "http://x//health", "http://health/metrics", "/openapi.json/",
         "/docs/oauth2-redirect", "/static/../metrics"],
    )  # fmt: skip
    @pytest.mark.parametrize("host", ["x", "127.0.0.1", "health", "/health", "x/health?", "x:80/health#"])
    def test_no_spelling_of_a_path_goes_around_the_api_key(self, locked: AttackedServer, path: str, host: str) -> None:
        response = locked.send_bytes(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert status_of(response) in (400, 401), response
        assert b"tokens_per_visual" not in response

    @pytest.mark.parametrize(
        "header",
        ["", "right", "Bearer", "Bearer wrong", "Bearer righ", "Bearer rightx", "Bearer RIGHT",
         "Basic right",
         "Bearer right other", "Bearer right,", "Bearer 'right'", "Bearer rig\xe9ht", "Token right", "Bearerright",
         "Bearer\xa0wrong", "Bearer " + "x" * 30_000],
    )  # fmt: skip
    def test_no_other_authorization_header_is_taken_for_an_api_key(self, locked: AttackedServer, header: str) -> None:
        assert_refused(locked.client.get("/v1/models", headers={b"Authorization": header.encode("latin-1")}), 401)

    @pytest.mark.parametrize("name", ["X-Api-Key", "Api-Key", "Cookie", "Proxy-Authorization", "X-Forwarded-For",
                                      "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override"])  # fmt: skip
    def test_an_api_key_in_another_header_is_not_read(self, locked: AttackedServer, name: str) -> None:
        for value in (f"Bearer {KEY}", KEY, "/health", "127.0.0.1"):
            response = locked.client.get("/v1/models", headers={"Authorization": "", name: value})
            assert_refused(response, 401)

    def test_a_protocol_upgrade_does_not_go_around_the_api_key(self, locked: AttackedServer) -> None:
        for protocol in ("websocket", "h2c"):
            head = (
                f"GET /v1/models HTTP/1.1\r\nHost: x\r\nUpgrade: {protocol}\r\nConnection: Upgrade, close\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            assert status_of(locked.send_bytes(head.encode())) == 401

    def test_api_keys_are_compared_in_constant_time(
        self, locked: AttackedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compared: list[tuple[bytes, bytes]] = []
        compare = hmac.compare_digest

        def recording(sent: bytes, key: bytes) -> bool:
            compared.append((sent, key))
            return compare(sent, key)

        monkeypatch.setattr(hmac, "compare_digest", recording)
        for key in (KEY, OTHER_KEY, "x", "x" * 1000):
            compared.clear()
            locked.client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
            assert len(compared) == 2  # both keys, whichever of them was sent
            assert {len(value) for pair in compared for value in pair} == {
                32
            }  # digests, whatever the length of the key

    def test_each_api_key_opens_the_server(self, locked: AttackedServer) -> None:
        for key in (KEY, OTHER_KEY):
            assert locked.client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        locked.assert_unharmed()


class TestPages:
    PAGES = ("/", "/playground/main.js", "/docs", "/docs/show.js", "/redoc", "/openapi.json")

    @pytest.mark.parametrize("path", PAGES)
    def test_a_page_without_a_key_holds_nothing_of_the_server(self, locked: AttackedServer, path: str) -> None:
        page = locked.client.get(path, headers={"Authorization": ""})
        assert page.status_code == 200
        name = locked.server.engine.facts.name
        for secret in (
            f'"{KEY}"',
            f'"{OTHER_KEY}"',
            f'"{name}"',
            str(locked.allowed_folder),
            attacked_server.MEDIA_HOST,
        ):
            assert secret not in page.text
        with_key = locked.client.get(path)
        assert with_key.content == page.content

    @pytest.mark.parametrize("path", ["/", "/playground/main.js", "/docs", "/redoc"])
    def test_a_page_runs_no_script_but_its_own_and_asks_nobody_else(self, locked: AttackedServer, path: str) -> None:
        headers = locked.client.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert not {"http:", "https:", "*"} & set(" ".join(policy.values()).split())
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"

    def test_no_text_becomes_markup_on_the_playground(self, locked: AttackedServer) -> None:
        policy = locked.client.get("/").headers["content-security-policy"]
        assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
        assert "style-src 'self';" in policy

    @pytest.mark.parametrize(
        "name", ["../config.py", "..%2fconfig.py", "%2e%2e/config.py", "examples", "", ".", "main.js/", "/etc/passwd"]
    )
    @pytest.mark.parametrize("folder", ["/playground/", "/docs/"])
    def test_only_files_of_a_page_are_served(self, locked: AttackedServer, folder: str, name: str) -> None:
        head = f"GET {folder}{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
        assert status_of(locked.send_bytes(head.encode())) == 404


class TestWorkBeforeAuthentication:
    @pytest.fixture(scope="class")
    def target(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedServer]:
        """A server with one API key, which the tests leave out or send by themselves."""
        with attacked_server.running(tmp_path_factory.mktemp("allowed"), api_keys=(KEY,)) as target:
            yield target

    @staticmethod
    def announced(length: int, **headers: str) -> bytes:
        """The head of a request whose body never arrives."""
        lines = [f"POST {CHAT} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode()

    def test_the_api_key_is_checked_before_the_body_is_read(self, target: AttackedServer) -> None:
        for length in (10, 10**9, 10**15):
            response = target.send_bytes(self.announced(length))
            assert response.startswith(b"HTTP/1.1 401"), response

    def test_a_body_that_is_announced_as_too_large_is_refused_before_it_is_read(self, target: AttackedServer) -> None:
        response = target.send_bytes(self.announced(10**9, Authorization=f"Bearer {KEY}"))
        assert response.startswith(b"HTTP/1.1 413"), response
        assert json.loads(response.partition(b"\r\n\r\n")[2])["error"]["code"] == "body_too_large"

    def test_no_media_is_fetched_for_a_client_without_an_api_key(self, target: AttackedServer) -> None:
        body: dict[str, Any] = chat_body(media_part("image_url", target.media_url("content/picture")))
        for key in ("", "Bearer wrong", f"Basic {base64.b64encode(b'right:right').decode()}"):
            assert_refused(target.client.post(CHAT, json=body, headers={"Authorization": key}), 401)
        assert target.media_host.requested_paths == []


class TestDecodersAreShared:
    def test_large_pictures_of_one_key_do_not_hold_up_a_picture_of_another(self, locked: AttackedServer) -> None:
        """Each of the large ones is a few hundred bytes and takes a tenth of a second and more."""

        def ask(key: str, *pictures: bytes) -> httpx.Response:
            parts = [media_part("image_url", data_url(picture)) for picture in pictures]
            headers = {"Authorization": f"Bearer {key}"}
            return locked.client.post(CHAT, json=chat_body(*parts), headers=headers, timeout=120)

        large = [encode(Image.new("L", (6000, 6000), level)) for level in range(40)]
        small = encode(Image.new("RGB", (10, 10)))
        with ThreadPoolExecutor(1) as thread:
            assert ask(OTHER_KEY, small).status_code == 200
            hostile = thread.submit(ask, KEY, *large)
            time.sleep(0.5)
            for _ in range(3):
                assert ask(OTHER_KEY, small).status_code == 200
                assert not hostile.done()
            assert hostile.result().status_code == 200

    def test_a_request_of_more_pixels_than_allowed_names_the_picture(self, tmp_path: Path) -> None:
        limits = Limits(max_request_pixels=20_000_000)
        with attacked_server.running(tmp_path, limits=limits) as target:
            parts = [media_part("image_url", data_url(encode(Image.new("L", (3000, 3000), n)))) for n in range(3)]
            assert target.chat(*parts[:2]).status_code == 200
            response = target.chat(*parts)
            assert response.json()["error"]["code"] == "limit_exceeded"
            assert response.json()["error"]["param"].endswith(".image_url.url")
            target.assert_unharmed()


class TestForeignPages:
    PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}

    def test_no_page_of_another_origin_may_ask_or_read_an_answer(self, locked: AttackedServer) -> None:
        for origin in ("http://127.0.0.1:8000", "https://page.example", "null"):
            for response in (
                locked.client.options(CHAT, headers={"Origin": origin, **self.PREFLIGHT}),
                locked.client.post(CHAT, json=chat_body(scene_parts.text_part("x")), headers={"Origin": origin}),
            ):
                assert not [name for name in response.headers if name.startswith("access-control")]

    def test_an_allowed_origin_opens_the_server_to_no_other_and_to_none_without_a_key(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder, origins = tmp_path_factory.mktemp("allowed"), ("https://page.example",)
        with attacked_server.running(folder, api_keys=(KEY,), allowed_origins=origins) as target:
            for origin in ("https://page.example.evil", "http://page.example", "https://xpage.example", "null", "*"):
                response = target.client.options(CHAT, headers={"Origin": origin, **self.PREFLIGHT})
                assert response.status_code == 400
                assert "access-control-allow-origin" not in response.headers
            headers = {"Origin": origins[0], "Authorization": ""}
            assert_refused(target.client.post(CHAT, json={}, headers=headers), 401)
            response = target.client.options(CHAT, headers=headers)  # not a preflight
            assert_refused(response, 401)
            target.assert_unharmed()


def chat_with_key(server: RunningServer, key: str, *content: Any) -> httpx.Response:
    body = chat_body(*content, max_tokens=1)
    response = httpx.post(server.url + CHAT, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=120)
    assert response.status_code == 200, response.text
    return response


def cached_tokens(response: httpx.Response) -> int:
    tokens: int = response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    return tokens


@pytest.mark.engine
class TestCachesOfKeys:
    """Attempts to learn from cached prompts and pictures what another key has asked."""

    LONG = "The secret is 12345. " * 12  # a few KV blocks of a CPU, which have 128 tokens

    @pytest.fixture(scope="class")
    def server(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
        """The server of the bundled demo, with two API keys."""
        options = ("--api-key", KEY, "--api-key", OTHER_KEY)
        with demo_server.start(tmp_path_factory.mktemp("server"), *options) as server:
            yield server

    def test_a_key_is_not_told_what_another_has_asked(self, server: RunningServer) -> None:
        text = scene_parts.text_part(self.LONG)
        assert cached_tokens(chat_with_key(server, KEY, text)) == 0
        assert cached_tokens(chat_with_key(server, OTHER_KEY, text)) == 0
        assert cached_tokens(chat_with_key(server, KEY, text)) > 0
        assert cached_tokens(chat_with_key(server, OTHER_KEY, text)) > 0

    def test_a_key_is_not_told_which_pictures_another_has_shown(self, server: RunningServer) -> None:
        pictures = [scene_parts.image_part(number) for number in range(40, 48)]
        assert cached_tokens(chat_with_key(server, KEY, *pictures)) == 0
        assert cached_tokens(chat_with_key(server, OTHER_KEY, *pictures)) == 0
        assert cached_tokens(chat_with_key(server, KEY, *pictures)) > 0

    def test_a_picture_that_another_key_has_shown_is_encoded_again(self, server: RunningServer) -> None:
        """Each prompt begins otherwise, so that the picture's encoder output alone can be reused."""
        encoded = []
        for number, key in enumerate((KEY, KEY, OTHER_KEY)):
            text = scene_parts.text_part(f"{number} is the number of this question.")
            response = chat_with_key(server, key, text, scene_parts.image_part(50))
            assert cached_tokens(response) == 0
            encoded.append("encode;" in response.headers["server-timing"])
        assert encoded == [True, False, True]
