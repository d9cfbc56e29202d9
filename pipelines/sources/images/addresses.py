"""Which addresses may be connected to: public ones, so that no row of data reaches into the network of the job."""

from __future__ import annotations

import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import lru_cache
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# IPv6 addresses that lead on to the IPv4 address in their last four bytes (RFC 6052, RFC 4291 2.5.5.1).
_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))
# A public address by its number, behind which every virtual machine of Azure finds its own host.
_AZURE_HOST = ipaddress.ip_address("168.63.129.16")
RESOLVER_THREADS = 16


def refusal(text: str) -> str | None:
    """Say what kind of address this is if none but hosts of a private network use it; None for a public one.

    An IPv6 address that stands for an IPv4 one (mapped, translated, 6to4, Teredo) is judged by that too.
    """
    address = ipaddress.ip_address(text)
    return next((kind for each in _meant(address) if (kind := _kind(each)) is not None), None)


def _meant(address: Address) -> list[Address]:
    found: list[Address] = []
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return [address.ipv4_mapped]
        found += [inner for inner in (address.sixtofour, *(address.teredo or ())) if inner is not None]
        if any(address in network for network in _TRANSLATED) and int(address) > 1:
            found.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return [address, *found]


def _kind(address: Address) -> str | None:
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if address.is_unspecified or (address.is_reserved and not address.is_global):
        return "a reserved address"
    return None if address.is_global and address != _AZURE_HOST else "a private address"


def resolve(host: str, port: int, timeout: float) -> list[str]:
    """Addresses of a host, in the order in which they should be tried, without repeats.

    Raises OSError where the name is unknown or was not resolved within ``timeout`` seconds.
    """
    # The system's resolver takes no timeout of its own.
    pending = _resolvers().submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        found = pending.result(timeout)
    except (FutureTimeoutError, TimeoutError):
        raise OSError(f"the name was not resolved within {timeout:.3g} s") from None
    except UnicodeError:
        raise OSError("the name is no host's") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@lru_cache(maxsize=1)
def _resolvers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve")
