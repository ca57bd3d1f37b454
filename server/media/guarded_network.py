"""Connects to media hosts at addresses that have been checked.

Addresses are checked where the connection is made, after every redirect, and the addresses checked are those connected
to, so that a host name whose address changes (DNS rebinding) gains nothing.
"""

import asyncio
import ipaddress
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextvars import ContextVar
from itertools import chain, zip_longest
from typing import Any

import httpcore

from llava_interleave_serve.server.media.access import Access, Address, is_public
from llava_interleave_serve.server.media.host_lookup import HostLookup
from llava_interleave_serve.server.media.requester import Requester

Connect = Callable[[str], Coroutine[Any, Any, httpcore.AsyncNetworkStream]]

ATTEMPT_DELAY = 0.25  # seconds before the next address is tried beside the last (RFC 8305, section 8)
MOST_ADDRESSES = 8  # of a host that are tried
CURRENT_REQUESTER: ContextVar[Requester] = ContextVar("requester")  # httpcore hands nothing on to its network backend


class HostRefused(Exception):
    """The host has no address, or one that may not be connected to; the message is for the client."""


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Network backend of httpcore that looks a host's name up, checks all its addresses and connects to one of them.

    The look-up counts as one of CURRENT_REQUESTER's.
    """

    def __init__(self, access: Access, lookup: HostLookup) -> None:
        self._access, self._lookup = access, lookup
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connects within the timeout, in which all addresses are tried. Raises HostRefused, or httpcore's errors."""
        addresses = await self._allowed_addresses(host, port)

        def connect(address: str) -> Coroutine[Any, Any, httpcore.AsyncNetworkStream]:
            return self._plain.connect_tcp(address, port, timeout, local_address, socket_options)

        try:
            async with asyncio.timeout(timeout):
                return await _connect_to_first(connect, _in_order(addresses))
        except TimeoutError:
            raise httpcore.ConnectTimeout from None

    async def _allowed_addresses(self, host: str, port: int) -> list[Address]:
        try:
            texts = await self._lookup.addresses(host, port, CURRENT_REQUESTER.get())
            addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in texts]  # without an IPv6 zone
        except (OSError, UnicodeError, ValueError):
            raise HostRefused("its host's name cannot be resolved") from None
        # All addresses must be allowed: DNS rebinding attacks also mix private addresses with public ones.
        if not addresses or not all(is_public(address) or self._access.allows(host, address) for address in addresses):
            raise HostRefused("its host is not a public one, and this server may fetch from public hosts only")
        return addresses


def _in_order(addresses: Sequence[Address]) -> list[str]:
    """The addresses to try: those of both families in turn, since often all of one are dead (RFC 8305, section 4)."""
    first = [address for address in addresses if address.version == addresses[0].version]
    second = [address for address in addresses if address.version != addresses[0].version]
    in_turn = chain.from_iterable(zip_longest(first, second))
    return [str(address) for address in in_turn if address is not None][:MOST_ADDRESSES]


async def _connect_to_first(connect: Connect, addresses: Sequence[str]) -> httpcore.AsyncNetworkStream:
    """Connects to the addresses in their order, each ATTEMPT_DELAY after the last, or as soon as the last has failed.

    Returns the first connection, and closes any other. Raises ConnectError if all fail.
    """
    untried = deque(addresses)
    attempts: set[asyncio.Task[httpcore.AsyncNetworkStream]] = set()
    try:
        while untried or attempts:
            if untried:
                attempts.add(asyncio.create_task(connect(untried.popleft())))
            patience = ATTEMPT_DELAY if untried else None
            done, _ = await asyncio.wait(attempts, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                attempts.remove(attempt)
                if attempt.exception() is None:
                    return attempt.result()
        raise httpcore.ConnectError
    finally:
        for attempt in attempts:
            attempt.cancel()
        for result in await asyncio.gather(*attempts, return_exceptions=True):
            if isinstance(result, httpcore.AsyncNetworkStream):
                await result.aclose()
