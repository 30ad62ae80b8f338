"""GET /v1/spend*: a key sees its own spend, the admin sees all spend."""

import asyncio
from contextlib import suppress

from litestar import Router, get

from proxy.errors import bad_request, not_found
from proxy.http.auth import Caller
from proxy.http.usd_fields import usd_fields
from proxy.ids import now
from proxy.ledger import reports
from proxy.ledger import requests as ledger_requests
from proxy.ledger import unsettled as ledger_unsettled
from proxy.ledger.reports import By
from proxy.ledger.requests import RequestFilter
from proxy.ledger.time_ranges import time_range
from proxy.pricing.money import format_usd
from proxy.service.state import AppState

FLUSH_S = 1.0


@get("/")
async def spend(
    app: AppState,
    caller: Caller,
    by: By = "day",
    since: str | None = None,
    until: str | None = None,
    month: str | None = None,
    limit: int = 1000,
) -> dict[str, object]:
    """Sum the spend by a group.

    By team, cost center and environment, the row with `group: null` has the requests of keys without one.
    """
    await flush(app)
    try:
        first, last = time_range(since, until, month, now(), app.zone)
    except ValueError as e:
        raise bad_request(f"{e}.", param="since", code="invalid_value") from None
    rows = await reports.spend(
        app.database, by=by, zone=app.zone, since=first, until=last, key_id=caller.key_id,
        limit=_in_range(limit, "limit", 10_000),
    )  # fmt: skip
    answer: dict[str, object] = {
        "object": "list",
        "by": by,
        "timezone": app.settings.budgets.timezone,
        "method": reports.METHOD,
        "data": [usd_fields(row) for row in rows],
    }
    if caller.admin:
        unsettled = await ledger_unsettled.unsettled_sum(app.database)
        answer["unsettled"] = {"count": unsettled.count, "usd": format_usd(unsettled.amount)}
    return answer


@get("/requests")
async def spend_requests(
    app: AppState,
    caller: Caller,
    limit: int = 50,
    session: str | None = None,
    before: str | None = None,
    user: str | None = None,
    task: str | None = None,
    stage: int | None = None,
    model: str | None = None,
    failed: bool | None = None,
) -> dict[str, object]:
    """List requests, newest first. Every other parameter narrows the list."""
    await flush(app)
    wanted = RequestFilter(
        key_id=caller.key_id, session=session, user=user, task=task, stage=stage, model=model, failed=failed
    )
    rows = await ledger_requests.list_requests(
        app.database, wanted, limit=_in_range(limit, "limit", 1000), before=before
    )
    return {"object": "list", "data": [usd_fields(row) for row in rows]}


@get("/requests/{request_id:str}")
async def spend_request(app: AppState, caller: Caller, request_id: str) -> dict[str, object]:
    """Return one request with its stages and calls."""
    await flush(app)
    found = await ledger_requests.get_request(app.database, request_id, key_id=caller.key_id)
    if found is None:
        raise not_found(f"No request {request_id[:60]!r} in the ledger.", code="request_not_found")
    fields: dict[str, object] = usd_fields(found)
    return fields


async def flush(app: AppState) -> None:
    """Wait briefly for this process's rows, so that a client sees the request that it has just made."""
    with suppress(TimeoutError):
        async with asyncio.timeout(FLUSH_S):
            await app.writer.flush()


def _in_range(value: int, name: str, most: int) -> int:
    if not 1 <= value <= most:
        raise bad_request(f"'{name}' has to be in 1..{most}.", param=name, code="invalid_value")
    return value


router = Router("/v1/spend", route_handlers=[spend, spend_requests, spend_request])
