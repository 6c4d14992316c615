"""Which addresses the operator connects to for a job, whose author may name any."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def all_but(denied: Iterable[Network]) -> Callable[[str], bool]:
    """Whether an address, as the system resolved it, is in none of the networks."""
    networks = tuple(denied)

    def allowed(text: str) -> bool:
        address = ip_address(text.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return not any(address in network for network in networks)

    return allowed
