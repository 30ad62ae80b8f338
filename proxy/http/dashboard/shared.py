"""What the pages of the dashboard have in common: their range, their viewer, the names of keys, and charts."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from litestar import Response
from litestar.params import Parameter

from proxy.errors import bad_request
from proxy.http.auth import Caller
from proxy.http.dashboard import figures
from proxy.http.dashboard.render import HEADERS
from proxy.ids import now
from proxy.ledger import keys as ledger_keys
from proxy.ledger.requests import RequestFilter
from proxy.ledger.time_ranges import parse_time
from proxy.service.state import AppState

MOST_GROUPS = 200
"""The most rows of a table that has no further page."""
_SVG_HEADERS = {
    **HEADERS,
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}

Range = Annotated[str, Parameter(query="range")]


def common(app: AppState, caller: Caller, here: str) -> dict[str, object]:
    """Return the values of the frame around a page. `here` is its name."""
    key = caller.key
    return {
        "here": here,
        "viewer": key.name if key else ("admin" if caller.admin else "everybody (no key exists)"),
        "sees_all": key is None,
        "signed_in": key is not None or bool(caller.admin),
        "timezone": app.settings.budgets.timezone,
    }


def in_range(app: AppState, caller: Caller, range_: Range) -> RequestFilter:
    """Return a filter for the requests of a range that the viewer may see.

    Raises:
        ApiError: 400 for an unknown range.
    """
    if range_ not in figures.RANGES:
        known = ", ".join(figures.RANGES)
        raise bad_request(f"'range' has to be one of: {known}.", param="range", code="invalid_value")
    start = figures.RANGES[range_]
    since = None if start is None else parse_time(start, now(), app.zone)
    return RequestFilter(key_id=caller.key_id, since=since)


async def key_names(app: AppState, caller: Caller) -> Mapping[str, str]:
    """Return the names of the keys that the viewer may see, by their ids."""
    if caller.key is not None:
        return {caller.key.id: caller.key.name}
    return {key.id: key.name for key in await ledger_keys.list_keys(app.database)}


async def svg(draw: Callable[..., bytes], *data: Any) -> Response[bytes]:
    """Draw a chart in a thread, and send it. If it is opened by itself, its script does not run."""
    drawn = await asyncio.to_thread(draw, *data)
    return Response(drawn, media_type="image/svg+xml", headers=_SVG_HEADERS)
