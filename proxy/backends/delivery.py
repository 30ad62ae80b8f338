"""Bring one request to an upstream, and know whether it arrived: what never left costs nothing."""

import ssl
import time
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from yarl import URL

from proxy.backends.session import Delivery, open_session
from proxy.errors import (
    ApiError,
    upstream_broken,
    upstream_redirects,
    upstream_timeout,
    upstream_unreachable,
)

MOST_REDIRECTS = 3
_NO_HTTP = "Expected HTTP/"
"""What aiohttp says of an answer such as a TLS alert, the preface of HTTP/2, or the greeting of another server."""
STALE_S = 2.0
"""A server that had closed an idle connection is noticed within one round trip."""


async def deliver(
    session: aiohttp.ClientSession, open_until: AsyncExitStack, delivery: Delivery, url: str, **options: Any
) -> aiohttp.ClientResponse:
    """Send a request, by default a POST, and return the response, which is closed when `open_until` is.

    A connection that the server had closed before the request came is replaced by a new one, once. A redirect is
    followed only within the upstream's own origin, because the request carries the key and the prompt.

    Raises:
        ApiError: the request did not arrive, its response did not, or it is redirected elsewhere.
    """
    target = URL(url)
    for _ in range(MOST_REDIRECTS + 1):
        response = await _send(session, open_until, delivery, target, **options)
        if not 300 <= response.status < 400 or "location" not in response.headers:
            return response
        target = _next_place(target, response)
    raise upstream_redirects("itself")


async def _send(
    session: aiohttp.ClientSession, open_until: AsyncExitStack, delivery: Delivery, url: URL, **options: Any
) -> aiohttp.ClientResponse:
    started = time.monotonic()
    try:
        try:
            response = await _post(session, url, delivery, **options)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as e:
            if not _was_stale(e, delivery, time.monotonic() - started):
                raise
            limit = options["timeout"].sock_connect
            fresh = await open_until.enter_async_context(open_session(limit, pooled=False))
            response = await _post(fresh, url, delivery, **options)
    except (aiohttp.ClientError, OSError, ValueError) as e:
        raise _failure(e, delivery) from e
    # Closing an answer that was not read to its end closes its connection, so the upstream stops.
    open_until.callback(response.close)
    return response


async def _post(
    session: aiohttp.ClientSession, url: URL, delivery: Delivery, method: str = "POST", **options: Any
) -> aiohttp.ClientResponse:
    delivery.sent, delivery.reused = True, False  # until the session knows better
    return await session.request(method, url, allow_redirects=False, trace_request_ctx=delivery, **options)


def _was_stale(e: Exception, delivery: Delivery, passed_s: float) -> bool:
    """Return True if the server closed an idle connection, and no byte of a response has arrived."""
    begun = isinstance(e, aiohttp.ServerDisconnectedError) and not isinstance(e.message, str | None)
    return delivery.reused and not begun and passed_s < STALE_S


def _failure(e: Exception, delivery: Delivery) -> ApiError:
    """Return the error for a request without a response."""
    if not delivery.sent or isinstance(e, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
        return upstream_unreachable(_reason(e))
    if isinstance(e, aiohttp.ClientResponseError) and _NO_HTTP in str(e.__cause__):
        return upstream_unreachable("its server does not speak HTTP/1.1, so its base_url may be wrong")
    # From here on the request is out and may be billed. A repetition would need its own reservation.
    return upstream_timeout() if isinstance(e, TimeoutError) else upstream_broken()


def _reason(e: Exception) -> str:
    """Return why nothing was sent. It names no host, because a client reads it."""
    if isinstance(e, aiohttp.ClientHttpProxyError):
        return f"the forward proxy refused the connection ({e.status})"
    if isinstance(e, aiohttp.ClientProxyConnectionError):
        return "the forward proxy does not answer"
    if isinstance(e, aiohttp.ClientConnectorDNSError):
        return "its host name is unknown"
    if isinstance(e, aiohttp.ClientSSLError | ssl.SSLError | ssl.CertificateError):
        return "no TLS connection could be made"
    if isinstance(e, TimeoutError):
        return "the connection took too long"
    return "no connection could be made"


def _next_place(url: URL, response: aiohttp.ClientResponse) -> URL:
    """Return where a redirect within the same origin leads. 301, 302 and 303 would turn the request into a GET."""
    try:
        place = url.join(URL(response.headers["location"]))
        same = place.origin() == url.origin()
    except ValueError:
        raise upstream_redirects("an address that cannot be read") from None
    if not same:
        raise upstream_redirects(str(place.origin()) if place.host else "another place")
    if response.status not in (307, 308):
        raise upstream_redirects(place.path[:200])
    return place.with_user(None)
