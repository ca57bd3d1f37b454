"""Attacks 1 to 7: what the server is told to fetch."""

import ast
import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llava_interleave_serve.server import app
from tests.support import attacked_server, scene_parts
from tests.support.attacked_server import CHAT, PLAN, Attacked, data_url, part, refusal, request

URL = "messages[0].content[0].image_url.url"
SERVER = Path(app.__file__).parent


def image(target: Attacked, url: str, status: int = 400) -> str:
    """How the server refuses an image from there."""
    return refusal(target.ask(part("image_url", url)), status, URL)


class Test01:
    @pytest.mark.parametrize(
        "url",
        [
            "http://outside.example@{inside}/",
            "http://outside.example:80@{inside}/",
            "http://{outside}@{inside}/",
            "http://{inside}#@{outside}/",
            "http://{inside}?@{outside}/",
            "http://{inside}/@{outside}/",
            "http://{inside}\\@{outside}/",
            "http://{outside}\\@{inside}/",
            "http:\\\\{inside}\\",
            "http:/\\{inside}/",
            "http:{inside}/",
            "http:///{inside}/",
            "http:////{inside}/",
            "http://{outside}\t@{inside}/",
            "http://{outside}\r\nHost: {inside}/",
            "http://{outside} @{inside}/",
            "http://{outside}%20@{inside}/",
            "http://{outside}%2f@{inside}/",
            "http://{inside}%23@{outside}/",
            "http://{outside}%00.{inside}/",
            "http://outside.example%2e@{inside}/",
            "http://user:pass@{inside}/",
            "http://:@{inside}/",
            "http://[{inside}]/",
            "http://[::ffff:7f00:1]:{port}/",
            "http://[::1%25lo]:{port}/",
            "http://１２７.0.0.1:{port}/",
            "http://127。0。0。1:{port}/",
            "http://ⓛocalhost:{port}/",
            "http://LOCALHOST.:{port}/",
            "http://outside.example.evil.example:{port}/",
            "http://outside.example\u200b.example:{port}/",
            "http://evil.example#outside.example/",
            "http://{inside}:80/",
            "http://127.0.0.1:{port}:80/",
            "http://127.0.0.1:-1/",
            "http://127.0.0.1:65536/",
            "http://127.0.0.1:{port}0000/",
            "http://127.0.0.1:８０/",
            "http://127.0.0.1:0x50/",
        ],
    )
    def test_01_a_url_that_two_parsers_would_read_differently_leads_nowhere(self, target: Attacked, url: str) -> None:
        names = {"inside": f"127.0.0.1:{target.inside.port}", "outside": f"127.0.0.2:{target.outside.port}"}
        before = len(target.outside.asked)
        image(target, url.format(port=target.inside.port, **names))
        assert len(target.outside.asked) == before

    @pytest.mark.parametrize(
        "url",
        ["http://127.0.0.2:{}/content/picture", "HTTP://127.0.0.2:{}/content/picture#@127.0.0.1/",
         "http://outside.example:{}/content/picture", "http://OutSide.Example.:{}/content/picture?@127.0.0.1/"],
    )  # fmt: skip
    def test_01_the_host_that_is_checked_is_the_one_that_is_asked(self, target: Attacked, url: str) -> None:
        target.names.names |= {name: [["127.0.0.2"]] for name in ("outside.example", "outside.example.")}
        target.outside.asked.clear()
        assert target.ask(part("image_url", url.format(target.outside.port))).status_code == 200
        assert [path.partition("?")[0] for path in target.outside.asked] == ["/content/picture"]


class Test02:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "2130706433"])
    def test_02_a_redirect_to_a_private_address_is_not_followed(self, target: Attacked, host: str) -> None:
        image(target, target.out(f"elsewhere/{target.secret('x', host)}"))

    @pytest.mark.parametrize("where", ["//127.0.0.1:{}/", "http://127.0.0.2@127.0.0.1:{}/", "\\\\127.0.0.1:{}\\"])
    def test_02_nor_one_that_is_spelled_oddly(self, target: Attacked, where: str) -> None:
        image(target, target.out(f"elsewhere/{where.format(target.inside.port)}"))

    @pytest.mark.parametrize("where", ["file:///etc/passwd", "data:image/png;base64,AAAA", "ftp://127.0.0.1/", "x:y"])
    def test_02_a_redirect_leads_to_no_other_scheme(self, target: Attacked, where: str) -> None:
        assert "http or https" in image(target, target.out(f"elsewhere/{where}"))

    def test_02_a_name_that_is_resolved_anew_is_checked_anew(self, target: Attacked) -> None:
        target.names.names["rebinding.example"] = [["127.0.0.2"], ["127.0.0.1"]]
        there = target.secret("bytes/7", "rebinding.example")
        image(target, target.out(f"elsewhere/{there}", "rebinding.example"))

    def test_02_the_address_that_is_checked_is_the_address_that_is_asked(self, target: Attacked) -> None:
        """A second look-up would lead inside, so there is none."""
        target.names.names["rebinding.example"] = [["127.0.0.2"], ["127.0.0.1"]]
        target.names.asked.clear()
        answer = target.ask(part("image_url", target.out("content/picture", "rebinding.example")))
        assert answer.status_code == 200
        assert target.names.asked == ["rebinding.example"]

    @pytest.mark.parametrize("addresses", [["93.184.215.14", "127.0.0.1"], ["127.0.0.1", "93.184.215.14"],
                                           ["127.0.0.2", "127.0.0.1"], ["2606:2800::1", "::1"], []])  # fmt: skip
    def test_02_one_private_address_among_a_names_addresses_is_enough(
        self, target: Attacked, addresses: list[str]
    ) -> None:
        target.names.names["both.example"] = [addresses]
        assert "public" in image(target, target.secret(host="both.example"))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001",
        "localhost", "localhost.", "LOCALHOST", "0.0.0.0", "0", "255.255.255.255", "10.0.0.1", "172.16.0.1",
        "192.168.0.1", "100.64.0.1", "169.254.169.254", "0xa9fea9fe", "2852039166", "192.0.0.192", "224.0.0.1",
        "240.0.0.1", "192.0.2.1", "198.18.0.1", "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[fe80::1]", "[fec0::1]", "[fc00::1]",
        "[fd00:ec2::254]", "[ff02::1]", "[2001:db8::1]",
    ],
)  # fmt: skip
def test_03_an_address_that_is_not_public_is_not_asked_however_it_is_spelled(target: Attacked, host: str) -> None:
    message = image(target, f"http://{host}:{target.inside.port}/latest/meta-data")
    assert "public" in message or "not a valid" in message or "cannot be resolved" in message


class Test04:
    @pytest.mark.parametrize(
        "url",
        ["file:///etc/passwd", "FILE:///etc/passwd", "file:/etc/passwd", "file://localhost/etc/passwd",
         "file://127.0.0.1/etc/passwd", "file:///proc/self/environ", "file:///dev/zero", "/etc/passwd", "etc/passwd",
         "../../etc/passwd", "C:\\boot.ini", "\\\\127.0.0.1\\share", "ftp://127.0.0.1/a", "gopher://127.0.0.1/_x",
         "ldap://127.0.0.1/", "dict://127.0.0.1/", "s3://bucket/key", "jar:http://127.0.0.1!/", "blob:http://127.0.0.1",
         "javascript:alert(1)", "data:text/html;base64,AAAA", "data:video/mp4;base64,AAAA", "data:image/png,AAAA",
         "data:image/png;base64;base64,A", "data:,", "data:", "data:image/png;base64,AA AA", "pipe:0", "concat:/a|/b",
         " http://127.0.0.1/", "http", ":", "//127.0.0.1/"],
    )  # fmt: skip
    def test_04_another_scheme_is_refused(self, target: Attacked, url: str) -> None:
        image(target, url)

    @pytest.fixture
    def secret(self, target: Attacked) -> Iterator[Path]:
        """A picture beside the allowed folder, and ways to it from within."""
        secret = target.folder.with_name("secret.png")
        secret.write_bytes(target.outside.contents["picture"])
        (target.folder / "folder").mkdir()
        (target.folder / "link.png").symlink_to(secret)
        (target.folder / "up").symlink_to(target.folder.parent)
        (target.folder / "loop").symlink_to(target.folder / "loop")
        os.mkfifo(target.folder / "pipe")
        (target.folder / "good.png").write_bytes(secret.read_bytes())
        yield secret
        for name in ("link.png", "up", "loop", "pipe", "good.png", "folder"):
            path = target.folder / name
            path.rmdir() if name == "folder" else path.unlink()

    def test_04_no_way_leads_out_of_the_allowed_folder(self, target: Attacked, secret: Path) -> None:
        folder, name = str(target.folder), secret.name
        for path in (
            f"{folder}/../{name}", f"{folder}/%2e%2e/{name}", f"{folder}/..%2f{name}", f"{folder}/link.png",
            f"{folder}/up/{name}", f"{folder}/folder/../../{name}", f"{folder}/loop", f"{folder}/pipe", folder,
            f"{folder}/good.png/../../{name}", f"{folder}/good.png%00.png", f"//evil{folder}/good.png", str(secret),
            f"{folder}/absent", f"{folder}x/a", f"{folder}/{'a' * 5000}",
        ):  # fmt: skip
            assert "no such file" in image(target, f"file://{path}"), path
        assert target.ask(part("image_url", f"file://{folder}/good.png")).status_code == 200


class Test05:
    @pytest.mark.parametrize(
        ("path", "message"),
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
    def test_05_a_hostile_answer_is_that_parts_400(self, target: Attacked, path: str, message: str) -> None:
        answer = target.ask(scene_parts.image_part(1), part("image_url", target.out(path)))
        said = refusal(answer, param="messages[0].content[1].image_url.url")
        assert any(words in said for words in message.split("|")), said

    @pytest.mark.parametrize("kind", ["image_url", "video_url"])
    def test_05_ten_thousand_parts_that_point_at_one_host_are_refused_unasked(
        self, target: Attacked, kind: str
    ) -> None:
        before = len(target.outside.asked)
        parts = [part(kind, target.out(f"bytes/{number}")) for number in range(10_000)]
        assert "more than the" in refusal(target.ask(*parts), param=f"messages[0].content[64].{kind}")
        assert len(target.outside.asked) == before

    @pytest.mark.parametrize(("kind", "list_of"), [("multi_view", "views"), ("video_frames", "frames")])
    def test_05_nor_are_as_many_frames_or_views(self, target: Attacked, kind: str, list_of: str) -> None:
        before = len(target.outside.asked)
        urls = [{"url": target.out(f"bytes/{number}")} for number in range(10_000)]
        refusal(target.ask(part(kind, **{list_of: urls})), param=f"messages[0].content[0].{kind}")
        assert len(target.outside.asked) == before

    def test_05_what_cannot_fit_the_context_is_refused_unasked(self, target: Attacked) -> None:
        before = len(target.outside.asked)
        views = [{"url": target.out(f"bytes/{number}")} for number in range(200)]
        assert "context" in refusal(target.ask(part("multi_view", views=views)), param="messages")
        assert len(target.outside.asked) == before

    def test_05_a_data_url_is_as_bounded_as_a_file(self, target: Attacked) -> None:
        assert "larger than" in image(target, data_url(b"x" * 4_000_001))


class Test06:
    @pytest.mark.parametrize("kind", ["image_url", "video_url", "video_frames", "multi_view"])
    def test_06_every_route_that_takes_media_takes_it_by_the_one_loader(self, target: Attacked, kind: str) -> None:
        url = target.secret()
        urls = [{"url": url}]
        options = {"video_frames": {"frames": urls}, "multi_view": {"views": urls}}.get(kind, {"url": url})
        posts = [path for path, ways in target.client.get("/openapi.json").json()["paths"].items() if "post" in ways]
        assert sorted(posts) == [CHAT, PLAN]
        for path in posts:
            answer = target.client.post(path, json=request({"type": kind, kind: options}))
            assert answer.status_code == (200 if path == PLAN else 400)

    @pytest.mark.parametrize(
        "path",
        ["/tokenize", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/batches", "/v1/messages", "/score",
         "/v1/audio/transcriptions", "/invocations", "/pooling", "/load_lora_adapter", "/collective_rpc",
         "/v1/chat/completions/render"],
    )  # fmt: skip
    def test_06_no_route_of_the_engines_own_is_open(self, target: Attacked, path: str) -> None:
        refusal(target.client.post(path, json=request(part("image_url", target.secret()))), 404)

    def test_06_nothing_but_the_fetcher_can_reach_the_network(self) -> None:
        reaching = {"httpx", "httpcore", "requests", "urllib", "urllib3", "aiohttp", "http"}
        found = set()
        for file in SERVER.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) else []
                if any(name.partition(".")[0] in reaching for name in names):
                    found.add(file.relative_to(SERVER).as_posix())
        assert found == {"media/fetch.py"}

    def test_06_a_playlist_is_no_video_so_no_decoder_fetches_for_it(self, target: Attacked) -> None:
        for text in ("#EXTM3U\n#EXTINF:1,\n{}\n", "ffconcat version 1.0\nfile {}\n", "v=0\nc=IN IP4 127.0.0.1\n{}"):
            answer = target.ask(part("video_url", data_url(text.format(target.secret()).encode(), "video/mp4")))
            assert "not an MP4" in refusal(answer, param="messages[0].content[0].video_url.url")


class Test07:
    KEY = "right"

    @pytest.fixture(scope="class")
    def target(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
        with attacked_server.running(tmp_path_factory.mktemp("allowed"), api_keys=(self.KEY,)) as target:
            yield target

    @staticmethod
    def announced(length: int, **headers: str) -> bytes:
        """The head of a request whose body never comes."""
        lines = [f"POST {CHAT} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode()

    def test_07_the_key_is_checked_before_anything_of_the_body(self, target: Attacked) -> None:
        for length in (10, 10**9, 10**15):
            answer = target.raw(self.announced(length))
            assert answer.startswith(b"HTTP/1.1 401"), answer

    def test_07_a_body_too_large_is_refused_before_it_comes(self, target: Attacked) -> None:
        answer = target.raw(self.announced(10**9, Authorization=f"Bearer {self.KEY}"))
        assert answer.startswith(b"HTTP/1.1 413"), answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "body_too_large"

    def test_07_nothing_is_fetched_for_who_has_no_key(self, target: Attacked) -> None:
        body: dict[str, Any] = request(part("image_url", target.out("content/picture")))
        for key in ("", "Bearer wrong", f"Basic {base64.b64encode(b'right:right').decode()}"):
            refusal(target.client.post(CHAT, json=body, headers={"Authorization": key}), 401)
        assert target.outside.asked == []
