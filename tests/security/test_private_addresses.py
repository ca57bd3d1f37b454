"""Attempts to have the server connect to addresses that are not public: directly, by redirects and by DNS."""

import pytest

from tests.support.attacked_server import AttackedServer, media_part


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
