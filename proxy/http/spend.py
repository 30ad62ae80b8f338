"""GET /v1/spend*: a key sees its own spend, the admin sees everybody's."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from litestar import Request, get
from litestar.datastructures import State

from proxy.errors import bad_request, not_found
from proxy.http.auth import Caller, authenticate
from proxy.ledger import queries
from proxy.pricing.money import format_usd

FLUSH_S = 1.0
By = Literal["day", "model", "key", "stage", "task", "session"]


@get("/v1/spend")
async def spend(
    request: Request[Any, Any, State],
    state: State,
    by: By = "day",
    since: str | None = None,
    until: str | None = None,
) -> dict[str, object]:
    """Sum the spend by day, model, key, stage, task or session."""
    caller = await _enter(request, state)
    rows = await queries.spend(
        state.gateway.database,
        since=_time(since, "since"),
        until=_time(until, "until"),
        by=by,
        key_id=caller.key_id,
    )
    return {"object": "list", "by": by, "data": [usd_fields(row) for row in rows]}


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
    if not 1 <= limit <= 1000:
        raise bad_request("'limit' has to be in 1..1000.", param="limit", code="invalid_value")
    rows = await queries.list_requests(
        state.gateway.database, limit=limit, before=before, key_id=caller.key_id, session=session
    )
    return {"object": "list", "data": [usd_fields(row) for row in rows]}


@get("/v1/spend/requests/{request_id:str}")
async def spend_request(
    request: Request[Any, Any, State], state: State, request_id: str
) -> dict[str, object]:
    """Tell the whole story of one request."""
    caller = await _enter(request, state)
    story = await queries.get_request(state.gateway.database, request_id, key_id=caller.key_id)
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
    for name in ("cost", "baseline"):
        if isinstance(value.get(name), int):
            out[f"{name}_usd"] = format_usd(value[name])
    return out


def _time(text: str | None, name: str) -> datetime | None:
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise bad_request(
            f"'{name}' has to be an ISO date or time.", param=name, code="invalid_value"
        ) from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
