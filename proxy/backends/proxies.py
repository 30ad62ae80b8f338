"""Which forward proxy leads to a URL: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, as curl reads them.

Loopback addresses are never reached through a proxy. A prompt for a server on this machine must not leave it.
"""

import logging
import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.request import getproxies_environment

from yarl import URL

log = logging.getLogger(__name__)

_WITH_PORT = re.compile(r"(\[[^\]]*\]|[^:]*):(\d{1,5})")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def proxy_for(url: str) -> URL | None:
    """Return the forward proxy for a URL, or None if the connection is direct.

    Call it once for each server: the environment does not change while the process runs.
    """
    target, environment = URL(url), getproxies_environment()
    proxy = environment.get(target.scheme) or environment.get("all")
    host = (target.host or "").lower()
    if not proxy or is_loopback(host) or _is_excluded(host, target, environment.get("no", "")):
        return None
    found = URL(proxy if "://" in proxy else f"http://{proxy}")
    if found.scheme not in ("http", "https") or not found.host:
        log.warning("the proxy for %s:// is no http:// address, so the connection is direct", target.scheme)
        return None
    return found


def is_loopback(host: str) -> bool:
    """Return True if a host is this machine: localhost, 127.0.0.0/8, ::1, or an unspecified address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address is not None and (address.is_loopback or address.is_unspecified)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        # Short forms such as 127.1, which the resolver takes too.
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _is_excluded(host: str, target: URL, no_proxy: str) -> bool:
    """Return True if an entry of NO_PROXY names the host: `*`, a name, a domain, an address or a network.

    An entry with a port holds for this port only.
    """
    port = target.port or _DEFAULT_PORTS.get(target.scheme)
    address = _address(host)
    for entry in (e.strip().lower() for e in no_proxy.split(",")):
        with_port = _WITH_PORT.fullmatch(entry)
        if with_port and int(with_port[2]) != port:
            continue
        name = with_port[1] if with_port else entry
        name = name.strip("[]").removeprefix("*").lstrip(".")
        if entry == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
        if address is not None and name and _contains(name, address):
            return True
    return False


def _contains(network: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return address in ip_network(network, strict=False)
    except ValueError:
        return False
