"""GET /v1/spend*: a key sees its own spend, the admin sees everybody's."""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
from litestar import Request, get
from litestar.datastructures import State

from proxy.errors import bad_request, not_found
from proxy.http.auth import Caller, authenticate
from proxy.ids import now
from proxy.ledger import reports
from proxy.ledger import requests as ledger_requests
from proxy.ledger import unsettled as ledger_unsettled
from proxy.ledger.reports import By
from proxy.ledger.time_ranges import time_range
from proxy.pricing.money import format_usd

FLUSH_S = 1.0


@get("/v1/spend")
async def spend(
    request: Request[Any, Any, State],
    state: State,
    by: By = "day",
    since: str | None = None,
    until: str | None = None,
    month: str | None = None,
    limit: int = 1000,
) -> dict[str, object]:
    """Sum the spend by day, model, tier, stage, task, key, session, user or tag."""
    caller = await _enter(request, state)
    gateway = state.gateway
    try:
        first, last = time_range(since, until, month, now(), gateway.zone)
    except ValueError as e:
        raise bad_request(f"{e}.", param="since", code="invalid_value") from None
    rows = await reports.spend(
        gateway.database, by=by, zone=gateway.zone, since=first, until=last, key_id=caller.key_id,
        limit=_in_range(limit, "limit", 10_000),
    )  # fmt: skip
    lost = await ledger_unsettled.unsettled_sum(gateway.database) if caller.admin else None
    return {
        "object": "list", "by": by, "timezone": gateway.settings.budgets.timezone, "method": reports.METHOD,
        "data": [usd_fields(row) for row in rows],
    } | ({} if lost is None else {"unsettled": {"count": lost.count, "usd": format_usd(lost.amount)}})  # fmt: skip


@get("/v1/spend/requests")
async def spend_requests(
    request: Request[Any, Any, State],
    state: State,
    limit: int = 50,
    session: str | None = None,
    before: str | None = None,
) -> dict[str, object]:
    """List requests, newest first."""
    caller = await _enter(request, state)
    rows = await ledger_requests.list_requests(
        state.gateway.database,
        limit=_in_range(limit, "limit", 1000),
        before=before,
        key_id=caller.key_id,
        session=session,
    )
    return {"object": "list", "data": [usd_fields(row) for row in rows]}


@get("/v1/spend/requests/{request_id:str}")
async def spend_request(
    request: Request[Any, Any, State], state: State, request_id: str
) -> dict[str, object]:
    """Tell the whole story of one request."""
    caller = await _enter(request, state)
    story = await ledger_requests.get_request(state.gateway.database, request_id, key_id=caller.key_id)
    if story is None:
        raise not_found(f"No request {request_id[:60]!r} in the ledger.", code="request_not_found")
    told: dict[str, object] = usd_fields(story)
    return told


async def _enter(request: Request[Any, Any, State], state: State) -> Caller:
    """Admit the caller, and wait a moment for this process's rows: who asks has just had an answer."""
    caller = await authenticate(state, request.scope["headers"])
    with suppress(TimeoutError):
        async with asyncio.timeout(FLUSH_S):
            await state.gateway.writer.flush()
    return caller


def usd_fields(struct: Any) -> Any:
    """Return a struct as JSON values, with `cost_usd` beside every `cost`, and so on for `baseline`."""
    return _add_usd(msgspec.to_builtins(struct))


def _add_usd(value: Any) -> Any:
    if isinstance(value, list):
        return [_add_usd(v) for v in value]
    if not isinstance(value, dict):
        return value
    out = {k: _add_usd(v) for k, v in value.items()}
    for name in ("cost", "baseline", "limit", "spent", "reserved", "unsettled", "amount"):
        if isinstance(value.get(name), int):
            out[f"{name}_usd"] = format_usd(value[name])
    return out


def _in_range(value: int, name: str, most: int) -> int:
    if not 1 <= value <= most:
        raise bad_request(f"'{name}' has to be in 1..{most}.", param=name, code="invalid_value")
    return value
