"""Which hosts, addresses and files media may come from."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NAT64 = ipaddress.ip_network("64:ff9b::/96")
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # of IPv6; the rest wraps other addresses, is local or unassigned
# IETF protocol assignments and 6to4 relays, which `is_global` of older Python versions takes for public.
NOT_PUBLIC = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("192.88.99.0/24"))


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
