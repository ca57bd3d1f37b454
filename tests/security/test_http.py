"""Malformed HTTP, malformed request bodies, JSON that grows, and values of a request that would come back or stay."""

import json
import re
import threading
import time
import tracemalloc
from typing import Any

import pytest

from tests.support import scene_parts
from tests.support.attacked_server import (
    CHAT,
    PLAN,
    AttackedServer,
    assert_refused,
    chat_body,
    media_part,
    raw_request,
    status_of,
)

POST = f"POST {CHAT} HTTP/1.1"
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
HIDDEN = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


class TestMalformedHttp:
    @pytest.mark.parametrize(
        "head",
        [
            b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: x\r\n" % i for i in range(100_000)) + b"\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"x" * 1_000_000 + b": x\r\n\r\n",
            b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /health?" + b"x" * 1_000_000,
            b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_000_000,
            raw_request(POST, JSON, CHUNKED, body=b"2\r\n{}\r\n0\r\n" + b"X: x\r\n" * 200_000),
            raw_request(POST, JSON, CHUNKED, body=b"2;" + b"x" * 1_000_000 + b"\r\n{}\r\n0\r\n\r\n"),
        ],
        ids=["many headers", "a long value", "a long name", "a long path", "a path without end", "a value without end",
             "many trailers", "a long extension of a chunk"],
    )  # fmt: skip
    def test_headers_without_end_are_refused(self, target: AttackedServer, head: bytes) -> None:
        response = target.send_bytes(head)
        assert response.startswith(b"HTTP/1.1 400 ") or response == b""  # reset before it could be read

    @pytest.mark.parametrize(
        "data",
        [
            raw_request(POST, JSON, "Content-Length: 5", "Transfer-Encoding: chunked", body=HIDDEN),
            raw_request(POST, JSON, "Content-Length: 50", "Transfer-Encoding: chunked", body=HIDDEN),
            raw_request(POST, JSON, "Content-Length: 2", "Content-Length: 40", body=b"{}" + HIDDEN),
            raw_request(POST, JSON, "Content-Length: 2, 40", body=b"{}" + HIDDEN),
            raw_request(POST, JSON, "Content-Length: +2", body=b"{}" + HIDDEN),
            raw_request(POST, JSON, "Content-Length: -2", body=b"{}" + HIDDEN),
            raw_request(POST, JSON, "Content-Length: 0x2", body=b"{}" + HIDDEN),
            raw_request(POST, JSON, "Content-Length: ²", body=b"{}" + HIDDEN),
            raw_request(POST, JSON, "Content-Length: " + "9" * 5000, body=b"{}" + HIDDEN),
            raw_request(POST, JSON, "Content-Length : 2", body=b"{}" + HIDDEN),
            raw_request(POST, JSON, "Transfer-Encoding: xchunked", body=HIDDEN),
            raw_request(POST, JSON, "Transfer-Encoding: chunked, identity", body=HIDDEN),
            raw_request(POST, JSON, "Transfer-Encoding:\x0bchunked", body=HIDDEN),
            raw_request(POST, JSON, CHUNKED, "Transfer-Encoding: x", body=HIDDEN),
            raw_request(POST, JSON, CHUNKED, body=b"-1\r\n" + HIDDEN),
            raw_request(POST, JSON, CHUNKED, body=b"0x2\r\n{}\r\n" + HIDDEN),
            raw_request(POST, JSON, CHUNKED, body=b"2\n{}\n" + HIDDEN),
            raw_request(POST, JSON, CHUNKED, body=b"FFFFFFFFFFFFFFFFF\r\n" + HIDDEN),
            raw_request(POST, JSON, "X: a\r\n Content-Length: 2", body=HIDDEN),
            raw_request(POST, JSON, "X: a\nContent-Length: 2", body=HIDDEN),
            raw_request(POST, JSON, "X: a\rContent-Length: 2", body=HIDDEN),
            raw_request(POST, JSON, "X: a\0b", body=HIDDEN),
            raw_request(f"POST  {CHAT} HTTP/1.1", JSON, body=HIDDEN),
            raw_request(f"POST {CHAT} HTTP/1.1 HTTP/1.1", JSON, body=HIDDEN),
            raw_request(f"POST {CHAT} HTTP/9.9", JSON, body=HIDDEN),
            raw_request(f"POST {CHAT}", JSON, body=HIDDEN),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
            b"\0" * 1000,
        ],
        ids=range(29),
    )  # fmt: skip
    def test_no_second_request_hides_in_a_malformed_one(self, target: AttackedServer, data: bytes) -> None:
        response = target.send_bytes(data)
        assert 400 <= status_of(response) < 500, response
        assert b"lis_" not in response
        assert json.loads(response.partition(b"\r\n\r\n")[2])["error"]["message"]

    @pytest.mark.parametrize(
        "path", ["/health/", "/ready/", "/metrics/", f"{CHAT}/", f"{PLAN}/", "/v1/models/x/", "//health"]
    )
    def test_no_path_is_redirected_to_a_host_that_the_client_names(self, target: AttackedServer, path: str) -> None:
        for method in ("GET", "POST"):
            head = f"{method} {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
            response = target.send_bytes(head.encode())
            assert status_of(response) in (404, 405), response
            assert b"location:" not in response.lower()
            assert b"evil.example" not in response


class TestMalformedBodies:
    @pytest.mark.parametrize(
        "kind",
        ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml",
         "application/jsonx", "application/json, text/plain", "application/vnd.api+json", "x" * 10_000],
    )  # fmt: skip
    def test_another_content_type_is_refused(self, target: AttackedServer, kind: str) -> None:
        body = json.dumps(chat_body(scene_parts.text_part("x")))
        for path in (CHAT, PLAN):
            assert_refused(target.client.post(path, content=body, headers={"Content-Type": kind}))

    @pytest.mark.parametrize(
        "body",
        [
            b"[" * 1_000_000, b'{"a":' * 1_000_000, b"[" * 1_000_000 + b"]" * 1_000_000, b'{"messages":' + b"[" * 500,
            b"", b"null", b"7", b'"x"', b"[]", b"[{}]", b"{", b"{}}", b"{'a': 1}", b'{"messages": [],}', b"{a: 1}",
            b'\xef\xbb\xbf{"messages": []}', b'{"messages": "\xff\xfe"}', b'{"\xff": 1}', b'{"messages": "\xc0\xaf"}',
            b'{"messages": "\xed\xa0\x80"}', b'{"messages": "\\ud800"}', b'{"messages": "a\nb"}', b"\0", b'{"a": 1e}',
            b'{"messages": "x"}'.decode().encode("utf-16"), b'{"a": ' + b"9" * 5000 + b"}", b'{"a": 01}', b"/**/{}",
        ],
        ids=range(28),
    )  # fmt: skip
    def test_a_body_that_is_no_chat_request_is_refused(self, target: AttackedServer, body: bytes) -> None:
        response = target.client.post(CHAT, content=body, headers={"Content-Type": "application/json"})
        assert response.status_code == 400
        param = response.json()["error"]["param"]
        assert param in (None, "messages", "a")
        assert_refused(response, param=param)

    @pytest.mark.parametrize("template", ["{}", '{{"messages": [{}]}}', '{{"a": {{"b": [{}]}}}}'])
    def test_a_duplicate_json_key_is_refused(self, target: AttackedServer, template: str) -> None:
        for key in ("messages", "role", "x" * 1_000_000):
            body = template.format(f'{{"{key}": "x", "{key}": "y"}}')
            response = target.client.post(CHAT, content=body, headers={"Content-Type": "application/json"})
            assert_refused(response)
            assert "duplicate key" in response.json()["error"]["message"]
            assert len(response.content) < 1000


SIZE = 1_000_000  # bytes of each body
JSON_TYPE = {"Content-Type": "application/json"}
MOST_GROWTH = 20  # bytes of memory for each byte of a body
PATIENCE = 3.0  # seconds that another client may wait for its answer, on however busy a machine


def body_of(shape: str, item: str) -> bytes:
    """A JSON document of SIZE bytes: the shape with the item in place of its `@` as often as there is space."""
    before, after = shape.split("@")
    return (before + ",".join([item] * ((SIZE - len(shape)) // (len(item) + 1))) + after).encode()


def numbered(shape: str) -> bytes:
    """The same with fields that all differ."""
    before, after = shape.split("@")
    return (before + ",".join(f'"{number:x}":0' for number in range(SIZE // 10)) + after).encode()


def shape(**fields: Any) -> str:
    """A chat request with `@` in place of the string "@" among its fields."""
    return json.dumps({"messages": [{"role": "user", "content": "x"}], **fields}).replace('"@"', "@")


LISTS = {
    "messages": shape(messages=["@"]),
    "parts": shape(**chat_body("@")),
    "frames": shape(**chat_body(media_part("video_frames", frames=["@"]))),
    "views": shape(**chat_body(media_part("multi_view", views=["@"]))),
    "a url": shape(**chat_body(media_part("image_url", ["@"]))),
    "stop": shape(stop=["@"]),
    "token ids": shape(allowed_token_ids=["@"]),
    "a schema": shape(response_format={"type": "json_schema", "json_schema": {"schema": {"enum": ["@"]}}}),
    "a document": "[@]",
}
OBJECTS = {
    "a part": shape(**chat_body({"type": "text", "text": "x", "y": "@"})).replace('"y": @', "@"),
    "an image": shape(**chat_body(media_part("image_url", y="@"))).replace('"y": @', "@"),
    "a message": shape(messages=[{"role": "user", "y": "@"}]).replace('"y": @', "@"),
    "a body": shape(y="@").replace('"y": @', "@"),
    "stream options": shape(stream_options={"y": "@"}).replace('"y": @', "@"),
    "logit bias": shape(logit_bias={"y": "@"}).replace('"y": @', "@"),
}
BODIES = {
    **{f"{name} of {item}": body_of(shape, item) for name, shape in LISTS.items() for item in ("{}", "[]", '""')},
    **{f"fields of {name}": numbered(shape) for name, shape in OBJECTS.items()},
}
SERVED = {"fields of logit bias"}


def answered_meanwhile(target: AttackedServer, path: str, body: bytes) -> tuple[Any, float]:
    """Sends the body; returns its response, and the longest that a health check waited meanwhile, in seconds."""
    waits, ended = [0.0], threading.Event()

    def ask() -> None:
        with target.server.client() as client:
            while not ended.is_set():
                started = time.monotonic()
                assert client.get("/health").status_code == 200
                waits.append(time.monotonic() - started)

    other = threading.Thread(target=ask)
    other.start()
    try:
        response = target.client.post(path, content=body, headers=JSON_TYPE)
    finally:
        ended.set()
        other.join()
    return response, max(waits)


class TestJsonThatGrows:
    @pytest.mark.parametrize("name", BODIES)
    def test_a_small_body_takes_little_memory_and_no_time_of_others(self, target: AttackedServer, name: str) -> None:
        body = BODIES[name]
        assert len(body) <= SIZE
        tracemalloc.start()
        try:
            response, wait = answered_meanwhile(target, PLAN, body)
            assert tracemalloc.get_traced_memory()[1] < MOST_GROWTH * SIZE
        finally:
            tracemalloc.stop()
        if name not in SERVED:
            assert_refused(response, param=response.json()["error"]["param"])
        assert wait < PATIENCE

    @pytest.mark.parametrize("field", ["metadata", "user", "store", "safety_identifier"])
    def test_an_ignored_field_is_not_kept(self, target: AttackedServer, field: str) -> None:
        few = chat_body(scene_parts.text_part("x"), **{field: [{}] * 100_000})
        assert target.client.post(CHAT, json=few).status_code == 200
        assert field not in target.engine.asked[-1][2]
        response = target.client.post(
            CHAT, content=body_of(shape(**{field: ["@"]}), "{}"), headers={"Content-Type": "application/json"}
        )
        assert "JSON values" in assert_refused(response)


class TestEchoedValues:
    def test_an_error_response_repeats_no_long_value_of_the_request(self, target: AttackedServer) -> None:
        long = "x" * 1_000_000
        parts = ({"type": long}, media_part("image_url", long), media_part("image_url", f"data:{long};base64,AAAA"))
        messages = ({"role": long, "content": "x"}, {long: 1})
        fields: tuple[dict[str, Any], ...] = (
            {"model": long}, {"stop": long}, {"bad_words": [long]}, {"temperature": long},
            {"stream_options": {long: 1}},
            {"response_format": {"type": long}}, {"structured_outputs": {"regex": long}}, {"logit_bias": {long: 1}},
            {"user": long, "repetition_detection": {long: 1}}, {"n": long}, {"max_visual_tokens": long},
        )  # fmt: skip
        asked = ({long: 1}, *map(chat_body, parts), *({"messages": [message]} for message in messages))
        for body in (*asked, *(chat_body(scene_parts.text_part("x"), **field) for field in fields)):
            response = target.client.post(CHAT, json=body)
            assert response.status_code in (400, 404)
            assert len(response.content) < 1_000
            assert len(target.client.post(PLAN, json=body).content) < 1_000
        assert len(target.client.get(f"/{long[:50_000]}").content) < 10_000
        assert len(target.client.get(f"/v1/models/{long[:50_000]}").content) < 10_000


def series(target: AttackedServer) -> set[str]:
    """The time series of our own metrics: their names with their labels."""
    text = target.client.get("/metrics").text
    return {line.rpartition(" ")[0] for line in text.splitlines() if line.startswith("lis_")}


class TestMetricLabels:
    def test_no_label_of_a_metric_comes_from_a_client(self, target: AttackedServer) -> None:
        def attack(name: str) -> None:
            target.client.get(f"/{name}")
            target.client.request(name[:9].upper(), f"/v1/models/{name}", headers={"X-Request-Id": name, "Host": name})
            target.chat(scene_parts.text_part("x"), model=name, user=name, metadata={name: name})
            target.chat(scene_parts.text_part("x"), **{name: name})
            target.chat({"type": name}, media_part("image_url", name))
            target.chat(media_part("image_url", f"data:image/{name};base64,AAAA"), media_part("video_url", f"{name}:x"))
            target.chat(media_part("image_url", target.media_url(f"status/404?{name}")))
            target.client.post(CHAT, content=name, headers={"Content-Type": name, "Authorization": name})

        attack("before")
        before = series(target)
        assert before
        for number in range(5):
            attack(f"attack{number}")
        assert series(target) == before
        assert not [name for name in before if "before" in name]
        labels = {value for name in before for value in re.findall(r'="([^"]*)"', name)}
        assert len(labels) < 100
