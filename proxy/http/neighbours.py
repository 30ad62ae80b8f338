"""Who may talk to the proxy while no key exists: programs of this machine, but no web page and no other machine.

Without a key nothing but the machine's border protects the ledger and the money. A browser crosses this border for any web
page, a reverse proxy for any machine. So each request is checked here before its body is read:

- `Host` has to be an IP address, localhost or a configured name. A name that an attacker owns may resolve to 127.0.0.1
  (DNS rebinding), and then the attacker's page has the same origin as the proxy.
- `Origin` has to be the proxy's own or a configured one. Without it, `Sec-Fetch-Site` may not name another site.
- The body has to be JSON. A browser sends other types across origins without asking first.
- The client has to be on this machine, and no header may say that a reverse proxy passes the request on.

A request with a key is not checked: no web page knows the key, and a browser does not add it.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence

from litestar.types import ASGIApp, Receive, Scope, Send

from proxy.config.schema import Server
from proxy.errors import ApiError, forbidden
from proxy.http.cors import EVERY_PAGE, cors
from proxy.http.dependencies import app_state, authenticator

UNCHECKED = ("/health/",)
"""Paths that tell nobody anything, and that load balancers and containers call in their own ways."""

METRICS = "/metrics"
"""A path that may be public, or have a key of its own."""

FORMS = ("/dashboard/sign-in", "/dashboard/sign-out")
"""Paths whose bodies are forms. They are checked like others, but for the type of the body."""

FORWARDED = frozenset(
    {
        *("forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-original-forwarded-for"),
        *(
            "true-client-ip",
            "fastly-client-ip",
            "fly-client-ip",
            "x-azure-clientip",
            "x-envoy-external-address",
        ),
        *("x-original-host", "x-original-url", "x-appengine-user-ip", "cdn-loop", "x-proxyuser-ip"),
    }
)
_FORWARDED_PREFIXES = ("x-forwarded", "cf-", "x-amz-cf-", "x-arr-", "tailscale-")
_OWN_SITES = ("same-origin", "none")
_CREATE_A_KEY = "Create a key with `cope-proxy keys create NAME`, and send it"
_LOCALHOST = re.compile(r"([a-z0-9-]+\.)*localhost")
_BODILESS = ("GET", "HEAD", "OPTIONS", "DELETE")
"""Methods whose body has no meaning (RFC 9110, 9.3), so that its type tells nothing. A page's DELETE names its origin."""


def middleware(app: ASGIApp) -> ASGIApp:
    """Return an application that refuses the requests of strangers while no key exists."""

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        litestar, headers = scope["litestar_app"], scope["headers"]
        open_to_all = scope["path"].startswith(UNCHECKED) or (
            scope["path"] == METRICS and authenticator(litestar).may_scrape(headers)
        )
        if not open_to_all and await authenticator(litestar).anonymous(headers):
            server = app_state(litestar).settings.server
            client = scope["client"]
            # The form that takes a key is the only body that is not JSON.
            method = "GET" if scope["path"] in FORMS else str(scope.get("method"))
            require_neighbour(server, method, None if client is None else client[0], headers)
        await app(scope, receive, send)

    return checked


def require_neighbour(
    server: Server, method: str, client: str | None, headers: Iterable[tuple[bytes, bytes]]
) -> None:
    """Check that a request without a key comes from a program of this machine.

    Args:
        server: the settings of the server.
        method: the method of the request.
        client: the address of the client, if it is known.
        headers: the headers of the request, with names in lower case.

    Raises:
        ApiError: 403 for another host, origin, site or machine, 415 for a body that is not JSON.
    """
    given = _given(headers)
    hosts = [host.lower() for host in given.get("host", ())]
    _check_hosts(server, hosts)
    _check_origins(server, given, hosts)
    if not server.allow_anonymous:
        _check_direct(given, client)
    if method not in _BODILESS:
        _check_types(given.get("content-type", ()))


def require_own_page(server: Server, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Check that a form comes from a page of this proxy, so that no other site can fill it in for a person.

    Raises:
        ApiError: 403 for another origin or site.
    """
    given = _given(headers)
    _check_origins(server, given, [host.lower() for host in given.get("host", ())])


def _check_hosts(server: Server, hosts: Sequence[str]) -> None:
    for host in hosts:
        name = _name_of(host)
        if not (_is_local_name(name) or name in map(str.lower, (server.host, *server.allowed_hosts))):
            raise forbidden(
                f"The host {host[:100]!r} is not known here, and no key exists. {_CREATE_A_KEY}, or add the host's name "
                "to server.allowed_hosts.",
                code="host_not_allowed",
            )


def _check_origins(server: Server, given: dict[str, list[str]], hosts: Sequence[str]) -> None:
    own = {f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")}
    # A page without a key has to be named.
    named = cors(tuple(origin for origin in server.cors_origins if origin != EVERY_PAGE))
    origins = given.get("origin", [])
    foreign = [o for o in origins if o.lower() not in own and not named.is_origin_allowed(o.lower())]
    site = next((s for s in given.get("sec-fetch-site", ()) if s.lower() not in _OWN_SITES), None)
    if foreign or (site is not None and not origins):
        raise forbidden(
            f"A web page of {foreign[0][:100] if foreign else 'another site'} may not call this proxy, because no key "
            f"exists. {_CREATE_A_KEY}, or add the page's origin to server.cors_origins.",
            code="origin_not_allowed",
        )


def _check_direct(given: Iterable[str], client: str | None) -> None:
    forwarded = next((n for n in given if n in FORWARDED or n.startswith(_FORWARDED_PREFIXES)), None)
    if forwarded is not None or not _is_loopback(client):
        why = f"came through a proxy (header {forwarded[:60]})" if forwarded else "comes from another machine"
        raise forbidden(
            f"The request {why}, and no key exists, so everybody behind it could spend your money. {_CREATE_A_KEY}, or "
            "set server.allow_anonymous = true.",
            code="key_needed",
        )


def _check_types(types: Iterable[str]) -> None:
    for given in types:
        essence = given.partition(";")[0].strip().lower()
        if essence != "application/json" and not (
            essence.startswith("application/") and essence.endswith("+json")
        ):
            raise ApiError(
                415,
                f"The content type {given[:100]!r} is not accepted while no key exists, because any web page could send "
                "it. Send `Content-Type: application/json`.",
                code="unsupported_media_type",
            )


def _given(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for name, value in headers:
        given.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1").strip())
    return given


def _name_of(host: str) -> str:
    """Return a `Host` without its port, the brackets of IPv6 and the dot of the root."""
    if host.endswith("]"):
        return host[1:-1]
    name, colon, port = host.rpartition(":")
    if not colon:
        return host.removesuffix(".")
    return name.removeprefix("[").removesuffix("]").removesuffix(".") if port.isdigit() else host


def _is_local_name(name: str) -> bool:
    if _LOCALHOST.fullmatch(name):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(client: str | None) -> bool:
    """Return True for an address of this machine, and for a client without one: it uses a socket of this machine."""
    if client is None:
        return True
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client == ""
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
