"""Attacks by what a URL says: its host, its scheme, a local path, the size of a data URL."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.attacked_server import AttackedServer, data_url, media_part


class TestAmbiguousUrls:
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
    def test_a_url_that_two_parsers_read_differently_is_refused(self, target: AttackedServer, url: str) -> None:
        hosts = {"inside": f"127.0.0.1:{target.internal_host.port}", "outside": f"127.0.0.2:{target.media_host.port}"}
        before = len(target.media_host.requested_paths)
        target.refused_image(url.format(port=target.internal_host.port, **hosts))
        assert len(target.media_host.requested_paths) == before

    @pytest.mark.parametrize(
        "url",
        ["http://127.0.0.2:{}/content/picture", "HTTP://127.0.0.2:{}/content/picture#@127.0.0.1/",
         "http://outside.example:{}/content/picture", "http://OutSide.Example.:{}/content/picture?@127.0.0.1/"],
    )  # fmt: skip
    def test_the_host_that_is_checked_is_the_host_that_is_connected_to(self, target: AttackedServer, url: str) -> None:
        target.resolver.addresses |= {name: [["127.0.0.2"]] for name in ("outside.example", "outside.example.")}
        target.media_host.requested_paths.clear()
        assert target.chat(media_part("image_url", url.format(target.media_host.port))).status_code == 200
        assert [path.partition("?")[0] for path in target.media_host.requested_paths] == ["/content/picture"]


class TestUrlSchemes:
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
    def test_a_url_of_another_scheme_is_refused(self, target: AttackedServer, url: str) -> None:
        target.refused_image(url)

    def test_a_data_url_has_the_size_limit_of_a_fetched_file(self, target: AttackedServer) -> None:
        assert "larger than" in target.refused_image(data_url(b"x" * 4_000_001))


class TestLocalFiles:
    @pytest.fixture
    def secret(self, target: AttackedServer) -> Iterator[Path]:
        """A picture outside the allowed folder, and links inside the folder that lead to it."""
        secret = target.allowed_folder.with_name("secret.png")
        secret.write_bytes(target.media_host.contents["picture"])
        (target.allowed_folder / "folder").mkdir()
        (target.allowed_folder / "link.png").symlink_to(secret)
        (target.allowed_folder / "up").symlink_to(target.allowed_folder.parent)
        (target.allowed_folder / "loop").symlink_to(target.allowed_folder / "loop")
        os.mkfifo(target.allowed_folder / "pipe")
        (target.allowed_folder / "good.png").write_bytes(secret.read_bytes())
        yield secret
        for name in ("link.png", "up", "loop", "pipe", "good.png", "folder"):
            path = target.allowed_folder / name
            path.rmdir() if name == "folder" else path.unlink()

    def test_no_file_url_leads_out_of_the_allowed_folder(self, target: AttackedServer, secret: Path) -> None:
        folder, name = str(target.allowed_folder), secret.name
        for path in (
            f"{folder}/../{name}", f"{folder}/%2e%2e/{name}", f"{folder}/..%2f{name}", f"{folder}/link.png",
            f"{folder}/up/{name}", f"{folder}/folder/../../{name}", f"{folder}/loop", f"{folder}/pipe", folder,
            f"{folder}/good.png/../../{name}", f"{folder}/good.png%00.png", f"//evil{folder}/good.png", str(secret),
            f"{folder}/absent", f"{folder}x/a", f"{folder}/{'a' * 5000}",
        ):  # fmt: skip
            assert "no such file" in target.refused_image(f"file://{path}"), path
        assert target.chat(media_part("image_url", f"file://{folder}/good.png")).status_code == 200
