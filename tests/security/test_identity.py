"""Attacks 22 to 24 and 27 to 29: who asks, how it is asked, and what goes on around the server."""

import ast
import hmac
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llava_interleave_serve.server import app, cli
from llava_interleave_serve.server.config import ServerConfig
from tests.support import attacked_server, checkpoints, scene_parts
from tests.support.attacked_server import CHAT, PLAN, Attacked, part, refusal, request

KEY, OTHER = "right", "other"
SERVER = Path(app.__file__).parent


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """A server with keys."""
    with attacked_server.running(tmp_path_factory.mktemp("allowed"), api_keys=(KEY, OTHER)) as target:
        yield target


def http(line: str, *headers: str, body: bytes = b"") -> bytes:
    """A request, byte for byte, after which the server closes the connection."""
    return "\r\n".join([line, "Host: x", *headers, "Connection: close", "", ""]).encode("latin-1") + body


def status(answer: bytes) -> int:
    """The status of the one answer."""
    assert answer.count(b"HTTP/1.1 ") == 1, answer[:2000]
    return int(answer.split(b" ", 2)[1])


class Test22:
    PATHS = (
        CHAT, PLAN, "/v1/models", "/v1/models/fake", "/metrics", "/docs", "/redoc", "/openapi.json", "/", "/absent",
    )  # fmt: skip

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "PUT", "TRACE", "PROPFIND"])
    def test_22_every_route_but_health_needs_the_key(self, locked: Attacked, path: str, method: str) -> None:
        answer = locked.client.request(method, path, headers={"Authorization": ""})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert method == "HEAD" or refusal(answer, 401)

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
    def test_22_no_spelling_of_a_path_goes_around_it(self, locked: Attacked, path: str, host: str) -> None:
        answer = locked.raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert status(answer) in (400, 401), answer
        assert b"tokens_per_visual" not in answer

    @pytest.mark.parametrize(
        "header",
        ["", "right", "Bearer", "Bearer wrong", "Bearer righ", "Bearer rightx", "Bearer RIGHT",
         "Basic right",
         "Bearer right other", "Bearer right,", "Bearer 'right'", "Bearer rig\xe9ht", "Token right", "Bearerright",
         "Bearer\xa0wrong", "Bearer " + "x" * 30_000],
    )  # fmt: skip
    def test_22_nothing_but_a_key_is_one(self, locked: Attacked, header: str) -> None:
        refusal(locked.client.get("/v1/models", headers={"Authorization": header.encode("latin-1")}), 401)

    @pytest.mark.parametrize("name", ["X-Api-Key", "Api-Key", "Cookie", "Proxy-Authorization", "X-Forwarded-For",
                                      "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override"])  # fmt: skip
    def test_22_nor_does_it_come_another_way(self, locked: Attacked, name: str) -> None:
        for value in (f"Bearer {KEY}", KEY, "/health", "127.0.0.1"):
            answer = locked.client.get("/v1/models", headers={"Authorization": "", name: value})
            refusal(answer, 401)

    def test_22_an_upgrade_goes_around_nothing(self, locked: Attacked) -> None:
        for protocol in ("websocket", "h2c"):
            head = (
                f"GET /v1/models HTTP/1.1\r\nHost: x\r\nUpgrade: {protocol}\r\nConnection: Upgrade, close\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            assert status(locked.raw(head.encode())) == 401

    def test_22_all_keys_are_compared_in_constant_time(self, locked: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
        compared: list[tuple[bytes, bytes]] = []
        compare = hmac.compare_digest

        def comparing(one: bytes, other: bytes) -> bool:
            compared.append((one, other))
            return compare(one, other)

        monkeypatch.setattr(hmac, "compare_digest", comparing)
        for key in (KEY, OTHER, "x", "x" * 1000):
            compared.clear()
            locked.client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
            assert len(compared) == 2  # both keys, whichever it is
            assert {len(value) for pair in compared for value in pair} == {32}  # whatever its length

    def test_22_the_key_opens(self, locked: Attacked) -> None:
        for key in (KEY, OTHER):
            assert locked.client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        locked.is_unharmed()


POST = f"POST {CHAT} HTTP/1.1"
JSON = "Content-Type: application/json"
HIDDEN = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


class Test23:
    @pytest.mark.parametrize(
        "head",
        [
            b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: x\r\n" % at for at in range(100_000)) + b"\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"x" * 1_000_000 + b": x\r\n\r\n",
            b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /health?" + b"x" * 1_000_000,
            b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_000_000,
            http(POST, JSON, "Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n" + b"X: x\r\n" * 200_000),
            http(POST, JSON, "Transfer-Encoding: chunked", body=b"2;" + b"x" * 1_000_000 + b"\r\n{}\r\n0\r\n\r\n"),
        ],
        ids=["many headers", "a long value", "a long name", "a long path", "a path without end", "a value without end",
             "many trailers", "a long extension of a chunk"],
    )  # fmt: skip
    def test_23_headers_without_end_are_refused(self, target: Attacked, head: bytes) -> None:
        answer = target.raw(head)
        assert answer.startswith(b"HTTP/1.1 400 ") or answer == b""  # reset before it could be read

    @pytest.mark.parametrize(
        "data",
        [
            http(POST, JSON, "Content-Length: 5", "Transfer-Encoding: chunked", body=HIDDEN),
            http(POST, JSON, "Content-Length: 50", "Transfer-Encoding: chunked", body=HIDDEN),
            http(POST, JSON, "Content-Length: 2", "Content-Length: 40", body=b"{}" + HIDDEN),
            http(POST, JSON, "Content-Length: 2, 40", body=b"{}" + HIDDEN),
            http(POST, JSON, "Content-Length: +2", body=b"{}" + HIDDEN),
            http(POST, JSON, "Content-Length: -2", body=b"{}" + HIDDEN),
            http(POST, JSON, "Content-Length: 0x2", body=b"{}" + HIDDEN),
            http(POST, JSON, "Content-Length: ²", body=b"{}" + HIDDEN),
            http(POST, JSON, "Content-Length: " + "9" * 5000, body=b"{}" + HIDDEN),
            http(POST, JSON, "Content-Length : 2", body=b"{}" + HIDDEN),
            http(POST, JSON, "Transfer-Encoding: xchunked", body=HIDDEN),
            http(POST, JSON, "Transfer-Encoding: chunked, identity", body=HIDDEN),
            http(POST, JSON, "Transfer-Encoding:\x0bchunked", body=HIDDEN),
            http(POST, JSON, "Transfer-Encoding: chunked", "Transfer-Encoding: x", body=HIDDEN),
            http(POST, JSON, "Transfer-Encoding: chunked", body=b"-1\r\n" + HIDDEN),
            http(POST, JSON, "Transfer-Encoding: chunked", body=b"0x2\r\n{}\r\n" + HIDDEN),
            http(POST, JSON, "Transfer-Encoding: chunked", body=b"2\n{}\n" + HIDDEN),
            http(POST, JSON, "Transfer-Encoding: chunked", body=b"FFFFFFFFFFFFFFFFF\r\n" + HIDDEN),
            http(POST, JSON, "X: a\r\n Content-Length: 2", body=HIDDEN),
            http(POST, JSON, "X: a\nContent-Length: 2", body=HIDDEN),
            http(POST, JSON, "X: a\rContent-Length: 2", body=HIDDEN),
            http(POST, JSON, "X: a\0b", body=HIDDEN),
            http(f"POST  {CHAT} HTTP/1.1", JSON, body=HIDDEN),
            http(f"POST {CHAT} HTTP/1.1 HTTP/1.1", JSON, body=HIDDEN),
            http(f"POST {CHAT} HTTP/9.9", JSON, body=HIDDEN),
            http(f"POST {CHAT}", JSON, body=HIDDEN),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
            b"\0" * 1000,
        ],
        ids=range(29),
    )  # fmt: skip
    def test_23_no_request_hides_in_another(self, target: Attacked, data: bytes) -> None:
        answer = target.raw(data)
        assert 400 <= status(answer) < 500, answer
        assert b"lis_" not in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]

    @pytest.mark.parametrize(
        "kind",
        ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml",
         "application/jsonx", "application/json, text/plain", "application/vnd.api+json", "x" * 10_000],
    )  # fmt: skip
    def test_23_another_content_type_is_refused(self, target: Attacked, kind: str) -> None:
        body = json.dumps(request(scene_parts.text_part("x")))
        for path in (CHAT, PLAN):
            refusal(target.client.post(path, content=body, headers={"Content-Type": kind}))

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
    def test_23_what_is_no_request_is_refused(self, target: Attacked, body: bytes) -> None:
        answer = target.client.post(CHAT, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        param = answer.json()["error"]["param"]
        assert param in (None, "messages", "a")
        refusal(answer, param=param)

    @pytest.mark.parametrize("place", ["{}", '{{"messages": [{}]}}', '{{"a": {{"b": [{}]}}}}'])
    def test_23_a_key_that_comes_twice_is_refused(self, target: Attacked, place: str) -> None:
        for key in ("messages", "role", "x" * 1_000_000):
            twice = place.format(f'{{"{key}": "x", "{key}": "y"}}')
            answer = target.client.post(CHAT, content=twice, headers={"Content-Type": "application/json"})
            refusal(answer)
            assert "duplicate key" in answer.json()["error"]["message"]
            assert len(answer.content) < 1000

    def test_23_a_message_tells_nothing_of_the_body_back_at_length(self, target: Attacked) -> None:
        long = "x" * 1_000_000
        parts = ({"type": long}, part("image_url", long), part("image_url", f"data:{long};base64,AAAA"))
        messages = ({"role": long, "content": "x"}, {long: 1})
        for asked in ({long: 1}, *map(request, parts), *({"messages": [message]} for message in messages)):
            answer = target.client.post(CHAT, json=asked)
            assert answer.status_code == 400
            assert len(answer.content) < 10_000
        assert len(target.client.get(f"/{long[:50_000]}").content) < 10_000
        assert len(target.client.get(f"/v1/models/{long[:50_000]}").content) < 10_000


def series(target: Attacked) -> set[str]:
    """Our metrics with their labels."""
    text = target.client.get("/metrics").text
    return {line.rpartition(" ")[0] for line in text.splitlines() if line.startswith("lis_")}


class Test24:
    def test_24_no_label_is_a_clients(self, target: Attacked) -> None:
        def attack(name: str) -> None:
            target.client.get(f"/{name}")
            target.client.request(name[:9].upper(), f"/v1/models/{name}", headers={"X-Request-Id": name, "Host": name})
            target.ask(scene_parts.text_part("x"), model=name, user=name, metadata={name: name})
            target.ask(scene_parts.text_part("x"), **{name: name})
            target.ask({"type": name}, part("image_url", name))
            target.ask(part("image_url", f"data:image/{name};base64,AAAA"), part("video_url", f"{name}:x"))
            target.ask(part("image_url", target.out(f"status/404?{name}")))
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


class Test27:
    def test_27_a_dead_engine_is_not_ready_and_answers_nobody(self, tmp_path: Path) -> None:
        with attacked_server.running(tmp_path) as target:
            target.is_unharmed()
            target.engine.alive = False
            refusal(target.client.get("/ready"), 503)
            for asked in (
                request(scene_parts.text_part("x")),
                request(part("image_url", target.out("content/picture"))),
            ):
                answer = target.client.post(CHAT, json=asked | {"stream": True})
                refusal(answer, 503)
                assert int(answer.headers["retry-after"]) > 0
            assert target.client.get("/health").status_code == 200
            assert target.outside.asked == []


EVIL = "from pathlib import Path\nPath(__file__).with_name('was_run').touch()\nclass Config: pass\n"


class Test28:
    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Path:
        """A checkpoint that asks for its own code to be run."""
        auto = {"AutoConfig": "evil.Config", "AutoProcessor": "evil.Config", "AutoTokenizer": ["evil.Config", None]}
        folder = checkpoints.copy_of_demo(tmp_path / "checkpoint", auto_map=auto, trust_remote_code=True)
        (folder / "evil.py").write_text(EVIL)
        return folder

    def test_28_a_checkpoints_code_is_not_run_whatever_it_says(self, checkpoint: Path) -> None:
        args = cli.parse([str(checkpoint)]).engine_args
        assert args.trust_remote_code is False
        config = args.create_model_config()
        assert config.trust_remote_code is False
        assert not list(checkpoint.rglob("was_run"))

    def test_28_weights_are_read_from_safetensors_alone(self, checkpoint: Path) -> None:
        from vllm.config.load import LoadConfig
        from vllm.model_executor.model_loader import get_model_loader

        args = cli.parse([str(checkpoint)]).engine_args
        assert args.load_format == "safetensors"
        (checkpoint / "model.safetensors").unlink()
        (checkpoint / "pytorch_model.bin").write_bytes(b"\x80\4c__builtin__\nexit\n.")
        loader = get_model_loader(LoadConfig(load_format=args.load_format))
        with pytest.raises(RuntimeError, match="any model weights"):
            loader._prepare_weights(str(checkpoint), None, None, fall_back_to_pt=True, allow_patterns_overrides=None)


class Test29:
    def test_29_it_listens_on_loopback_unless_asked(self) -> None:
        assert ServerConfig().host == "127.0.0.1"
        assert cli.parse([]).host == "127.0.0.1"
        assert cli.parse(["--host", "0.0.0.0"]).host == "0.0.0.0"

    def test_29_nothing_of_ours_unpickles(self) -> None:
        unsafe = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "multiprocessing", "joblib"}
        for file in SERVER.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) else []
                assert not unsafe & {name.partition(".")[0] for name in names}, file

    def test_29_the_engine_is_told_to_unpickle_nothing(self) -> None:
        code = (
            "from llava_interleave_serve.server.engine.defaults import prepare_environment; "
            "prepare_environment(True); "
            "from vllm import envs; print(envs.VLLM_ALLOW_INSECURE_SERIALIZATION)"
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert run.stdout.splitlines()[-1] == "False"

    def test_29_the_decoders_socket_has_no_name(self) -> None:
        """Whoever is not given its descriptor cannot connect to it."""
        source = (SERVER / "media" / "video" / "worker_pool.py").read_text()
        assert "socketpair(socket.AF_UNIX" in source
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with one, other:
            assert one.getsockname() == ""
