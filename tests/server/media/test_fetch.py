"""Media is fetched from public hosts, named hosts and one folder, and from nowhere else."""

import asyncio
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest

from llava_interleave_serve.server.admission import Admission
from llava_interleave_serve.server.errors import FetchError, LimitExceeded
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media import host_lookup
from llava_interleave_serve.server.media.access import Access, is_public
from llava_interleave_serve.server.media.fetch import Fetcher
from llava_interleave_serve.server.media.requester import Requester
from tests.support.fakes import hostile_server
from tests.support.fakes.hostile_server import HostileServer

LOOPBACK = Access(allowed_hosts=frozenset({"127.0.0.1"}))
LIMITS = Limits(max_media_bytes=5000, fetch_timeout=1.0, read_timeout=0.5, connect_timeout=0.5)


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileServer]:
    with hostile_server.running() as server:
        yield server


class Resolver:
    """Resolves each name to the addresses given for it, one list a call, and to the last list from then on."""

    def __init__(self, **names: list[list[str]]) -> None:
        self.addresses = {name.replace("_", "."): lists for name, lists in names.items()}
        self.resolved: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.resolved.append(host)
        lists = self.addresses.get(host, [[host]])
        return lists.pop(0) if len(lists) > 1 else lists[0]


async def fetch(
    url: str, *, access: Access = LOOPBACK, limits: Limits = LIMITS, resolver: host_lookup.Resolver | None = None
) -> bytes:
    fetcher = Fetcher(limits, access, Admission(limits), resolver or Resolver())
    try:
        async with fetcher.fetch(url, Requester()) as data:
            return data
    finally:
        await fetcher.aclose()


class TestHttp:
    pytestmark = pytest.mark.anyio

    @pytest.mark.parametrize("path", ["bytes/0", "bytes/5000", "redirect/1", "redirect/3"])
    async def test_a_file_is_fetched_over_http(self, hostile: HostileServer, path: str) -> None:
        data = await fetch(f"http://127.0.0.1:{hostile.port}/{path}")
        assert data == b"x" * (7 if path.startswith("redirect") else int(path.rpartition("/")[2]))

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("redirect/4", "redirects more than 3 times"),
            ("status/404", "answered 404"),
            ("status/500", "answered 500"),
            ("gzip/", "compression that was not asked for"),
            ("short/", "does not speak proper HTTP|cannot be reached"),
            ("garbage/", "does not speak proper HTTP"),
            ("silent/", "does not answer"),
            ("slow/", "not fetched within 1 s"),
            ("elsewhere/file:///etc/passwd", "must be http or https"),
            ("elsewhere/http://user:password@127.0.0.1/", "user name or password"),
            ("elsewhere/https:////[x]", "something that is not a URL"),
            ("elsewhere/https:////[", "something that is not a URL"),
        ],
    )
    async def test_a_bad_response_is_an_error_that_names_the_url_option_and_no_address(
        self, hostile: HostileServer, path: str, message: str
    ) -> None:
        with pytest.raises(FetchError, match=message) as refusal:
            await fetch(f"http://127.0.0.1:{hostile.port}/{path}")
        assert refusal.value.param == "url"
        assert "127.0.0.1" not in refusal.value.message

    @pytest.mark.parametrize("path", ["bytes/5001", "endless/"])
    async def test_a_fetched_file_that_is_too_large_is_refused(self, hostile: HostileServer, path: str) -> None:
        with pytest.raises(LimitExceeded, match="larger than 5000 bytes"):
            await fetch(f"http://127.0.0.1:{hostile.port}/{path}")

    async def test_a_fetch_from_a_host_that_does_not_listen_is_an_error(self) -> None:
        with pytest.raises(FetchError, match="cannot be reached"):
            await fetch("http://127.0.0.1:9/a.png")

    async def test_simultaneous_fetches_from_one_host_are_limited(self, hostile: HostileServer) -> None:
        limits = Limits(max_fetches_per_host=2, fetch_timeout=10.0)
        fetcher = Fetcher(limits, LOOPBACK, Admission(limits), Resolver())

        async def fetch_one() -> None:
            async with fetcher.fetch(f"http://127.0.0.1:{hostile.port}/held/0.1", Requester()):
                pass

        await asyncio.gather(*(fetch_one() for _ in range(6)))
        await fetcher.aclose()
        assert hostile.most_at_once == 2


class TestAddresses:
    pytestmark = pytest.mark.anyio

    @pytest.mark.parametrize(
        "host",
        ["127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]",
         "192.168.1.1", "224.0.0.1", "100.64.0.1", "[fe80::1]", "[fc00::1]", "[2002:7f00:1::]"],
    )  # fmt: skip
    async def test_private_hosts_are_refused(self, host: str) -> None:
        with pytest.raises(FetchError, match="may fetch from public hosts only"):
            await fetch(f"http://{host}/", access=Access())

    @pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost"])
    async def test_other_spellings_of_loopback_are_refused(self, host: str) -> None:
        with pytest.raises(FetchError, match=r"public hosts only|cannot be resolved|not a valid"):
            await fetch(f"http://{host}:9/", access=Access(), resolver=host_lookup.resolve)

    async def test_a_redirect_to_a_private_host_is_refused(self, hostile: HostileServer) -> None:
        access = Access(allowed_hosts=frozenset({"public.example"}))
        resolver = Resolver(public_example=[["127.0.0.1"]], private_example=[["127.0.0.1"]])
        url = f"http://public.example:{hostile.port}/elsewhere/http://private.example:{hostile.port}/bytes/3"
        with pytest.raises(FetchError, match="public hosts only"):
            await fetch(url, access=access, resolver=resolver)
        assert "/bytes/3" not in hostile.requested_paths

    async def test_one_private_address_among_public_ones_is_refused(self) -> None:
        resolver = Resolver(mixed_example=[["93.184.216.34", "127.0.0.1"]])
        with pytest.raises(FetchError, match="public hosts only"):
            await fetch("http://mixed.example/", access=Access(), resolver=resolver)

    async def test_a_host_name_is_resolved_once_for_check_and_connection(self, hostile: HostileServer) -> None:
        # Resolving the name a second time would give the private address.
        resolver = Resolver(rebinding_example=[["127.0.0.1"], ["10.0.0.1"]])
        access = Access(allowed_hosts=frozenset({"rebinding.example"}))
        url = f"http://rebinding.example:{hostile.port}/bytes/4"
        assert await fetch(url, access=access, resolver=resolver) == b"xxxx"
        assert resolver.resolved == ["rebinding.example"]

    async def test_a_private_network_can_be_allowed(self, hostile: HostileServer) -> None:
        access = Access(allowed_hosts=frozenset({"127.0.0.0/8"}))
        assert await fetch(f"http://127.0.0.1:{hostile.port}/bytes/2", access=access) == b"xx"


@pytest.mark.parametrize(
    ("address", "public"),
    [("93.184.216.34", True), ("2606:2800:220:1::1", True), ("::ffff:93.184.216.34", True),
     ("64:ff9b::5db8:d822", True),
     ("127.0.0.1", False), ("::ffff:10.0.0.1", False), ("64:ff9b::a00:1", False), ("2002:a00:1::", False),
     ("ff02::1", False), ("240.0.0.1", False), ("2001:0:1::1", False)],
)  # fmt: skip
def test_public_addresses_are_distinguished_from_all_others(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


class TestUrls:
    pytestmark = pytest.mark.anyio

    @pytest.mark.parametrize(
        "url",
        ["ftp://a/b", "gopher://a", "/etc/passwd", "C:\\a", "http://", "http:///a", "http://a b/", "http://a\\@b/",
         "http://public.example@127.0.0.1/", "http://:80/", "javascript:1", "HTTP://[::1", ""],
    )  # fmt: skip
    async def test_urls_of_unsupported_schemes_are_refused(self, url: str) -> None:
        with pytest.raises(FetchError):
            await fetch(url)

    @pytest.mark.parametrize("port", ["0", "-1", "65536", "99999999999999999999999", "9" * 5000])
    async def test_a_port_that_is_none_is_refused_before_its_host_is_looked_up(self, port: str) -> None:
        resolver = Resolver()
        with pytest.raises(FetchError, match=r"port is not one of 1 to 65535|not a valid one") as refusal:
            await fetch(f"http://127.0.0.1:{port}/a.png", resolver=resolver)
        assert refusal.value.param == "url"
        assert resolver.resolved == []

    async def test_a_redirect_to_a_port_that_is_none_is_refused(self, hostile: HostileServer) -> None:
        target = "http://127.0.0.1:99999999999999999999999/a.png"
        with pytest.raises(FetchError, match="port is not one of"):
            await fetch(f"http://127.0.0.1:{hostile.port}/elsewhere/{target}", resolver=host_lookup.resolve)


class TestFiles:
    pytestmark = pytest.mark.anyio

    async def test_local_files_are_refused_unless_a_folder_is_allowed(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"abc")
        with pytest.raises(FetchError, match="reads no local files"):
            await fetch(f"file://{tmp_path}/a")

    async def test_a_file_of_the_allowed_folder_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "a b").write_bytes(b"abc")
        assert await fetch(f"file://{tmp_path}/a%20b", access=Access(tmp_path)) == b"abc"

    async def test_files_outside_of_the_allowed_folder_are_refused(self, tmp_path: Path) -> None:
        inside = tmp_path / "inside"
        inside.mkdir()
        (tmp_path / "secret").write_bytes(b"abc")
        (inside / "link").symlink_to(tmp_path / "secret")
        for path in (f"{inside}/../secret", f"{inside}/link", f"{inside}/%2e%2e/secret", str(tmp_path / "secret"),
                     str(inside), f"{inside}/absent", f"host{inside}/link"):  # fmt: skip
            with pytest.raises(FetchError, match="no such file") as refusal:
                await fetch(f"file://{path}", access=Access(inside))
            assert str(tmp_path) not in refusal.value.message
