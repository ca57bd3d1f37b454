"""Fetches media from http, https and file URLs.

Guards against server-side request forgery (SSRF): a URL may lead only to public addresses, to hosts that the operator
names, and to files of one folder. Addresses are checked where the connection is made, after every redirect, and the
address checked is the one connected to, so that a host name whose address changes (DNS rebinding) gains nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import httpcore
import httpx

from llava_interleave_serve.server.errors import FetchError, LimitExceeded
from llava_interleave_serve.server.limits import Limits

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Awaitable[list[str]]]

NAT64 = ipaddress.ip_network("64:ff9b::/96")
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # of IPv6; the rest wraps other addresses, is local or unassigned
# IETF protocol assignments and 6to4 relays, which `is_global` of older Python versions takes for public.
NOT_PUBLIC = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("192.88.99.0/24"))
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Access:
    """Hosts and files that media URLs may name, besides public hosts.

    Attributes:
        allowed_local_media_path: folder whose files `file:` URLs may name; None for no files at all.
        allowed_hosts: host names, addresses and networks (CIDR) that may be private.

    """

    allowed_local_media_path: Path | None = None
    allowed_hosts: frozenset[str] = frozenset()

    def allows(self, host: str, address: Address) -> bool:
        """True if `allowed_hosts` has this host's name, its address, or a network that contains the address."""
        return host.lower().rstrip(".") in self.allowed_hosts or any(address in network for network in self._networks())

    def _networks(self) -> Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        for entry in self.allowed_hosts:
            try:
                yield ipaddress.ip_network(entry)
            except ValueError:
                continue  # a host name


def is_public(address: Address) -> bool:
    """True for an address of the public internet; for an IPv6 address that wraps an IPv4 one, the latter decides."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        wrapped = address.ipv4_mapped or address.sixtofour
        if wrapped is not None:
            return is_public(wrapped)
        if address.teredo is not None or address not in GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in NOT_PUBLIC)


async def resolve(host: str, port: int) -> list[str]:
    """Looks up the addresses of a host with the system's resolver."""
    entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(socket_address[0]) for *_, socket_address in entries))


class HostRefused(Exception):
    """The host has no address, or one that may not be connected to; the message is for the client."""


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Network backend of httpcore that resolves a host's name, checks all its addresses and connects to the first."""

    def __init__(self, access: Access, resolver: Resolver) -> None:
        self._access, self._resolver = access, resolver
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            texts = await self._resolver(host, port)
            addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in texts]  # without an IPv6 zone
        except (OSError, UnicodeError, ValueError) as error:
            raise HostRefused("its host's name cannot be resolved") from error
        # All addresses must be allowed: DNS rebinding attacks also mix private addresses with public ones.
        if not addresses or not all(is_public(address) or self._access.allows(host, address) for address in addresses):
            raise HostRefused("its host is not a public one, and this server may fetch from public hosts only")
        return await self._plain.connect_tcp(str(addresses[0]), port, timeout, local_address, socket_options)


class Fetcher:
    """Fetches media files.

    Raises FetchError, and LimitExceeded for a file that is too large, of the option `url`. No message contains an
    address or a path, which would tell a client about the network or the machine that the server is in.
    """

    def __init__(self, limits: Limits, access: Access, resolver: Resolver = resolve) -> None:
        self._limits, self._access = limits, access
        self._pool = httpcore.AsyncConnectionPool(
            network_backend=GuardedNetwork(access, resolver), max_connections=None, keepalive_expiry=5.0
        )
        # One semaphore a host, so as not to overload it; the loader bounds all fetches together.
        self._host_slots: WeakValueDictionary[bytes, asyncio.Semaphore] = WeakValueDictionary()

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def fetch(self, url: str) -> bytes:
        """Reads the file that an http, https or file URL leads to."""
        scheme = url.partition(":")[0].lower()
        match scheme:
            case "http" | "https":
                try:
                    async with asyncio.timeout(self._limits.fetch_timeout):
                        return await self._fetch_http(url)
                except TimeoutError:
                    raise FetchError(
                        f"the URL was not fetched within {self._limits.fetch_timeout:g} s", param="url"
                    ) from None
            case "file":
                return await asyncio.to_thread(self._read_local_file, url)
            case _:
                raise FetchError("the URL must begin with https:, http: or data:", param="url")

    def _read_local_file(self, url: str) -> bytes:
        folder = self._access.allowed_local_media_path
        if folder is None:
            raise FetchError("this server reads no local files: send the media as a data URL", param="url")
        try:
            parsed = httpx.URL(url)
            path = Path(parsed.path).resolve(strict=True)
            is_allowed = not parsed.host and path.is_relative_to(folder.resolve()) and path.is_file()
            if is_allowed and path.stat().st_size > self._limits.max_media_bytes:
                raise self._too_large()
            data = path.read_bytes() if is_allowed else None
        except (OSError, ValueError, RuntimeError, httpx.InvalidURL):  # RuntimeError: symbolic links in a circle
            data = None
        if data is None:
            raise FetchError("there is no such file in the folder that this server may read", param="url")
        return data

    async def _fetch_http(self, url: str) -> bytes:
        for _ in range(self._limits.max_redirects + 1):
            target = _parse_url(url)
            host_slots = self._host_slots.setdefault(
                target.raw_host, asyncio.Semaphore(self._limits.max_fetches_per_host)
            )
            try:
                async with host_slots:
                    body_or_location = await self._get(target)
            except HostRefused as refusal:
                raise FetchError(f"the URL may not be fetched: {refusal}", param="url") from None
            except (httpcore.TimeoutException, httpcore.NetworkError):
                raise FetchError("the URL's host cannot be reached, or does not answer", param="url") from None
            except (httpcore.ProtocolError, httpcore.UnsupportedProtocol):
                raise FetchError("the URL's host does not speak proper HTTP", param="url") from None
            if isinstance(body_or_location, bytes):
                return body_or_location
            try:
                url = str(target.join(body_or_location))
            except httpx.InvalidURL:
                raise FetchError("the URL redirects to something that is not a URL", param="url") from None
        raise FetchError(f"the URL redirects more than {self._limits.max_redirects} times", param="url")

    async def _get(self, url: httpx.URL) -> bytes | str:
        """Requests one URL; returns the response's body, or the location that it redirects to."""
        limits = self._limits
        timeouts = {
            "connect": limits.connect_timeout,
            "read": limits.read_timeout,
            "write": limits.read_timeout,
            "pool": limits.fetch_timeout,
        }
        # Without compression, so that a small response cannot become a large file.
        headers: dict[bytes | str, bytes | str] = {
            "Host": url.netloc.decode("ascii"),
            "Accept": "image/*, video/*",
            "Accept-Encoding": "identity",
        }
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        async with self._pool.stream("GET", target, headers=headers, extensions={"timeout": timeouts}) as response:
            received = {name.lower(): value for name, value in response.headers}
            if response.status in REDIRECTS and b"location" in received:
                return received[b"location"].decode("latin-1")
            if response.status != httpx.codes.OK:
                raise FetchError(f"the URL's host answered {response.status}, not 200", param="url")
            if received.get(b"content-encoding", b"identity").lower() != b"identity":
                raise FetchError("the URL's host answered in a compression that was not asked for", param="url")
            length = received.get(b"content-length", b"")
            if length.isdigit() and int(length) > limits.max_media_bytes:
                raise self._too_large()
            body = bytearray()
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) > limits.max_media_bytes:
                    raise self._too_large()
            return bytes(body)

    def _too_large(self) -> LimitExceeded:
        return LimitExceeded(f"the file is larger than {self._limits.max_media_bytes} bytes", param="url")


def _parse_url(url: str) -> httpx.URL:
    """Parses and checks a URL; its result is what is connected to, so that no second parser can read it differently."""
    if any(character in url for character in "\\ \t\r\n"):
        raise FetchError("the URL holds a backslash or white space", param="url")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise FetchError("the URL is not a valid one", param="url") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise FetchError("the URL must be http or https, with a host", param="url")
    if parsed.userinfo:
        raise FetchError("the URL holds a user name or password", param="url")
    return parsed
