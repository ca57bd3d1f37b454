"""Looks up the addresses of media hosts, a bounded number at once, which API keys share fairly."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from llava_interleave_serve.server.media.fair_semaphore import FairSemaphore
from llava_interleave_serve.server.media.futures import take_exception
from llava_interleave_serve.server.media.requester import Requester
from llava_interleave_serve.server.media.single_flight import SingleFlight

Resolver = Callable[[str, int], Awaitable[list[str]]]

LOOKUPS_AT_ONCE = 64
# Threads of their own: one may wait half a minute for a name server that does not answer, and nothing can end it.
_THREADS = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="look-up")


async def resolve(host: str, port: int) -> list[str]:
    """Looks up the addresses of a host with the system's resolver, so that it reads /etc/hosts and nsswitch.conf."""
    entries = await asyncio.get_running_loop().run_in_executor(
        _THREADS, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    return list(dict.fromkeys(str(socket_address[0]) for *_, socket_address in entries))


class HostLookup:
    """Looks up hosts with one resolver.

    A look-up holds its slot until the resolver is done, even if nobody waits for it any more. So a key whose look-ups
    hang waits for its own, and leaves the slots beyond its share to other keys. Requests of one key that look up the
    same host at the same time share one look-up.

    key_share: as of FairSemaphore.
    """

    def __init__(self, resolver: Resolver, key_share: float) -> None:
        self._resolver = resolver
        self._slots = FairSemaphore(LOOKUPS_AT_ONCE, key_share=key_share)
        self._lookups: SingleFlight[list[str]] = SingleFlight()

    async def addresses(self, host: str, port: int, requester: Requester) -> list[str]:
        """The addresses of a host as text. Raises what the resolver raises, OSError for a name without an address."""
        return await self._lookups.run((requester.key, host, port), lambda: self._look_up(host, port, requester))

    async def _look_up(self, host: str, port: int, requester: Requester) -> list[str]:
        await self._slots.acquire(requester)
        lookup = asyncio.ensure_future(self._resolver(host, port))

        lookup.add_done_callback(lambda _: self._slots.release(requester))
        lookup.add_done_callback(take_exception)
        return await asyncio.shield(lookup)
