"""The HTTP connections to all servers of both tiers."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp

KEEP_ALIVE_S = 4
"""Close idle connections before the server does (uvicorn, and so vLLM: 5 s), so that few requests hit a closing one."""

MOST_HEADER_BYTES = 64 * 2**10
"""The longest header line of a response. Gateways send policies and cookies of more than aiohttp's 8 KiB."""


@dataclass(slots=True)
class Delivery:
    """How far a request has come. A session of `open_session` keeps it true if it is the `trace_request_ctx`."""

    sent: bool = False
    """Whether the request is out. A request that never left costs nothing, and a refused one neither."""
    reused: bool = False
    """Whether its connection has served an earlier request, so that its server may have closed it since."""


def open_session(connect_timeout_s: float, *, pooled: bool = True) -> aiohttp.ClientSession:
    """Return a session without time limits of its own, except for connecting.

    The environment's proxies are not read for each request: see `proxy.backends.proxies`. Cookies are not kept, because
    the requests are those of many people.
    """
    connector = (
        aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S)
        if pooled
        else aiohttp.TCPConnector(limit=0, force_close=True)
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s),
        trace_configs=[_trace()],
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=MOST_HEADER_BYTES,
        max_field_size=MOST_HEADER_BYTES,
    )


def _trace() -> aiohttp.TraceConfig:
    config = aiohttp.TraceConfig()
    config.on_request_start.append(_set(sent=False))
    config.on_request_headers_sent.append(_set(sent=True))
    config.on_connection_reuseconn.append(_set(reused=True))
    return config


def _set(**facts: bool) -> Any:
    async def note(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
        delivery = context.trace_request_ctx
        if isinstance(delivery, Delivery):
            for name, value in facts.items():
                setattr(delivery, name, value)

    return note
