"""Fetches media from http, https and file URLs.

Guards against server-side request forgery (SSRF): a URL may lead only to public addresses, to hosts that the operator
names, and to files of one folder. guarded_network.py checks the addresses.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

import httpcore
import httpx

from llava_interleave_serve.server.admission import Admission, Reservation
from llava_interleave_serve.server.errors import FetchError, LimitExceeded
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media import local_file
from llava_interleave_serve.server.media.access import Access
from llava_interleave_serve.server.media.fair_semaphore import FairSemaphore
from llava_interleave_serve.server.media.fair_threads import FairThreads
from llava_interleave_serve.server.media.guarded_network import CURRENT_REQUESTER, GuardedNetwork, HostRefused
from llava_interleave_serve.server.media.host_lookup import HostLookup, Resolver, resolve
from llava_interleave_serve.server.media.requester import Requester, RequestMediaTooLarge
from llava_interleave_serve.server.observability.distribution import DISTRIBUTION, version

REDIRECTS = (301, 302, 303, 307, 308)
KEEPALIVE_SECONDS = 4.0  # less than the 5 after which Node.js closes an idle connection
FILE_THREADS = 8
UNBOUNDED = 1 << 62
LAST_PORT = 65535


class Fetcher:
    """Fetches media files.

    Raises FetchError, and LimitExceeded for a file that is too large, of the option `url`; Overloaded where admission
    has no room for the bytes. No message contains an address or a path, which would tell a client about the network or
    the machine that the server is in.
    """

    def __init__(self, limits: Limits, access: Access, admission: Admission, resolver: Resolver = resolve) -> None:
        self._limits, self._access, self._admission = limits, access, admission
        lookup = HostLookup(resolver, limits.max_key_share)
        self._pool = httpcore.AsyncConnectionPool(
            network_backend=GuardedNetwork(access, lookup),
            max_connections=None,
            max_keepalive_connections=limits.max_media_at_once,
            keepalive_expiry=KEEPALIVE_SECONDS,
        )
        self._file_threads = FairThreads("file", FILE_THREADS, limits.max_key_share)
        # A fetch takes its place in this order, so that nobody holds a place that others need while it waits for one
        # that is its own matter: first among those of its request, then of its host, then of all.
        self._request_slots = FairSemaphore(UNBOUNDED, most_of_request=limits.max_fetches_per_request)
        self._host_slots: WeakValueDictionary[bytes, FairSemaphore] = WeakValueDictionary()
        self._slots = FairSemaphore(limits.max_media_at_once, key_share=limits.max_key_share)
        self._user_agent = f"{DISTRIBUTION}/{version()}"

    async def aclose(self) -> None:
        self._file_threads.close()
        await self._pool.aclose()

    @asynccontextmanager
    async def fetch(self, url: str, requester: Requester) -> AsyncIterator[bytes]:
        """The file that an http, https or file URL leads to, as the value of the block.

        Until the block's end it counts as one of the media at once, and its bytes as in the server.
        """
        scheme = url.partition(":")[0].lower()
        if scheme not in ("http", "https", "file"):
            raise FetchError("the URL must begin with https:, http: or data:", param="url")
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._request_slots.slot(requester))
            reservation = held.enter_context(self._admission.reserve_media(requester.key))
            fetching = _Fetch(requester, reservation, self._limits)
            if scheme == "file":
                await held.enter_async_context(self._slots.slot(requester))
                yield await self._read_file(url, fetching)
            else:
                CURRENT_REQUESTER.set(requester)
                yield await self._fetch_http(url, fetching, held)

    async def _read_file(self, url: str, fetching: "_Fetch") -> bytes:
        folder, threads, requester = self._access.allowed_local_media_path, self._file_threads, fetching.requester
        path = _path_of(url)
        async with fetching.within_time():
            size = await threads.run(requester, local_file.size_of, path, folder)
            fetching.add(size)
            return await threads.run(requester, local_file.read, path, folder, size)

    async def _fetch_http(self, url: str, fetching: "_Fetch", held: AsyncExitStack) -> bytes:
        """The body of the response that the URL leads to. What the file's fetch holds to its end is put into `held`."""
        requester = fetching.requester
        for _ in range(self._limits.max_redirects + 1):
            target = _parse_url(url)
            async with AsyncExitStack() as turn:
                async with self._slots_of_host(target.raw_host).slot(requester):
                    await turn.enter_async_context(self._slots.slot(requester))
                    body_or_location = await self._get(target, fetching)
                if isinstance(body_or_location, bytes):
                    await held.enter_async_context(turn.pop_all())
                    return body_or_location
            try:
                url = str(target.join(body_or_location))
            except (httpx.InvalidURL, ValueError):
                raise FetchError("the URL redirects to something that is not a URL", param="url") from None
        raise FetchError(f"the URL redirects more than {self._limits.max_redirects} times", param="url")

    def _slots_of_host(self, host: bytes) -> FairSemaphore:
        limits = self._limits
        slots = self._host_slots.get(host)
        if slots is None:
            slots = self._host_slots[host] = FairSemaphore(limits.max_fetches_per_host, key_share=limits.max_key_share)
        return slots

    async def _get(self, url: httpx.URL, fetching: "_Fetch") -> bytes | str:
        """Requests one URL; returns the response's body, or the location that it redirects to."""
        try:
            async with fetching.within_time():
                response = await self._response(url)
                try:
                    return await _body_or_location(response, fetching)
                finally:
                    await response.aclose()
        except HostRefused as refusal:
            raise FetchError(f"the URL may not be fetched: {refusal}", param="url") from None
        except (httpcore.TimeoutException, httpcore.NetworkError, OSError):  # httpcore leaves ssl.SSLError as it is
            raise FetchError("the URL's host cannot be reached, or does not answer", param="url") from None
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol):
            raise FetchError("the URL's host does not speak proper HTTP", param="url") from None

    async def _response(self, url: httpx.URL) -> httpcore.Response:
        """The response, whose body has not been read.

        A host may close a kept connection just as the next request comes over it. Such a request is sent again, which
        a GET may be (RFC 9110, section 9.2.2), until it has a connection of its own.
        """
        for _ in range(self._limits.max_media_at_once + 1):
            is_new_connection = False

            async def trace(event: str, _: dict[str, Any]) -> None:
                nonlocal is_new_connection
                is_new_connection |= event == "connection.connect_tcp.started"

            try:
                return await self._pool.handle_async_request(self._request(url, trace))
            except (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError):
                if is_new_connection:
                    raise
        raise httpcore.ConnectError

    def _request(self, url: httpx.URL, trace: Callable[[str, dict[str, Any]], Awaitable[None]]) -> httpcore.Request:
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
            "User-Agent": self._user_agent,
            "Accept": "image/*, video/*",
            "Accept-Encoding": "identity",
        }
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        return httpcore.Request("GET", target, headers=headers, extensions={"timeout": timeouts, "trace": trace})


class _Fetch:
    """The fetch of one file for a request: what it has taken so far, and what it may take yet."""

    def __init__(self, requester: Requester, reservation: Reservation, limits: Limits) -> None:
        self.requester, self._reservation, self._limits = requester, reservation, limits
        self._seconds_left = limits.fetch_timeout
        self._bytes = 0  # that have come

    @asynccontextmanager
    async def within_time(self) -> AsyncIterator[None]:
        """Ends the block with a FetchError when all such blocks together have taken `fetch_timeout`."""
        now = asyncio.get_running_loop().time
        started = now()
        try:
            async with asyncio.timeout(self._seconds_left):
                yield
        except TimeoutError:
            raise FetchError(f"the URL was not fetched within {self._limits.fetch_timeout:g} s", param="url") from None
        finally:
            self._seconds_left -= now() - started

    def check(self, number: int) -> None:
        """Raises LimitExceeded if so many more bytes are too many."""
        most, most_of_request = self._limits.max_media_bytes, self._limits.max_request_media_bytes
        if self._bytes + number > most:
            raise LimitExceeded(f"the file is larger than {most} bytes", param="url")
        if self.requester.fetched_bytes + number > most_of_request:
            raise RequestMediaTooLarge(
                f"the files of this request are larger than {most_of_request} bytes together", param="url"
            )

    def add(self, number: int) -> None:
        """Counts bytes that have come. Raises as `check` does, and Overloaded if the server has no room for them."""
        self.check(number)
        self._reservation.grow(bytes=number)
        self._bytes += number
        self.requester.fetched_bytes += number


async def _body_or_location(response: httpcore.Response, fetching: _Fetch) -> bytes | str:
    received = {name.lower(): value for name, value in response.headers}
    if response.status in REDIRECTS and b"location" in received:
        return received[b"location"].decode("latin-1")
    if response.status != httpx.codes.OK:
        raise FetchError(f"the URL's host answered {response.status}, not 200", param="url")
    if received.get(b"content-encoding", b"identity").lower() != b"identity":
        raise FetchError("the URL's host answered in a compression that was not asked for", param="url")
    length = received.get(b"content-length", b"")
    if length.isdigit():
        fetching.check(int(length))
    body = io.BytesIO()  # which gives its bytes away without a copy
    async for chunk in response.aiter_stream():
        fetching.add(len(chunk))
        body.write(chunk)
    return body.getvalue()


def _path_of(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        parsed = None
    if parsed is None or parsed.host:
        raise FetchError(local_file.NO_SUCH_FILE, param="url")
    return parsed.path


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
    if parsed.port is not None and not 1 <= parsed.port <= LAST_PORT:
        raise FetchError(f"the URL's port is not one of 1 to {LAST_PORT}", param="url")
    if parsed.userinfo:
        raise FetchError("the URL holds a user name or password", param="url")
    return parsed
