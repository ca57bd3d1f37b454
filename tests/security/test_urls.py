"""Attacks by what a URL says: its host, however it is spelled, its scheme, a local path, the size of a data URL.

And by redirects and DNS, which lead to addresses that are not public.
"""

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
            "http://127.0.0.1:0/",
            "http://127.0.0.1:99999999999999999999999/",
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


class TestPrivateAddresses:
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
    def test_an_address_that_is_not_public_is_refused_however_it_is_spelled(
        self, target: AttackedServer, host: str
    ) -> None:
        message = target.refused_image(f"http://{host}:{target.internal_host.port}/latest/meta-data")
        assert "public" in message or "not a valid" in message or "cannot be resolved" in message


class TestRedirects:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "2130706433"])
    def test_a_redirect_to_a_private_address_is_not_followed(self, target: AttackedServer, host: str) -> None:
        target.refused_image(target.media_url(f"elsewhere/{target.internal_url('x', host)}"))

    @pytest.mark.parametrize("location", ["//127.0.0.1:{}/", "http://127.0.0.2@127.0.0.1:{}/", "\\\\127.0.0.1:{}\\"])
    def test_a_redirect_to_an_oddly_spelled_private_address_is_not_followed(
        self, target: AttackedServer, location: str
    ) -> None:
        target.refused_image(target.media_url(f"elsewhere/{location.format(target.internal_host.port)}"))

    @pytest.mark.parametrize(
        "location", ["file:///etc/passwd", "data:image/png;base64,AAAA", "ftp://127.0.0.1/", "x:y"]
    )
    def test_a_redirect_to_another_scheme_is_not_followed(self, target: AttackedServer, location: str) -> None:
        assert "http or https" in target.refused_image(target.media_url(f"elsewhere/{location}"))


class TestNameResolution:
    def test_a_host_that_is_resolved_again_is_checked_again(self, target: AttackedServer) -> None:
        target.resolver.addresses["rebinding.example"] = [["127.0.0.2"], ["127.0.0.1"]]
        redirected = target.internal_url("bytes/7", "rebinding.example")
        target.refused_image(target.media_url(f"elsewhere/{redirected}", "rebinding.example"))

    def test_the_address_that_is_checked_is_the_address_that_is_connected_to(self, target: AttackedServer) -> None:
        """A second lookup of the host would return the internal address, so that none may follow the check."""
        target.resolver.addresses["rebinding.example"] = [["127.0.0.2"], ["127.0.0.1"]]
        target.resolver.lookups.clear()
        response = target.chat(media_part("image_url", target.media_url("content/picture", "rebinding.example")))
        assert response.status_code == 200
        assert target.resolver.lookups == ["rebinding.example"]

    @pytest.mark.parametrize("addresses", [["93.184.215.14", "127.0.0.1"], ["127.0.0.1", "93.184.215.14"],
                                           ["127.0.0.2", "127.0.0.1"], ["2606:2800::1", "::1"], []])  # fmt: skip
    def test_a_host_with_one_private_address_among_its_addresses_is_refused(
        self, target: AttackedServer, addresses: list[str]
    ) -> None:
        target.resolver.addresses["both.example"] = [addresses]
        assert "public" in target.refused_image(target.internal_url(host="both.example"))
