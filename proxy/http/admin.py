"""/v1/admin: keys, session budgets and unsettled calls. Only for the admin key; no client's key can make or widen one."""

import os
from datetime import datetime, timedelta
from typing import Annotated, Any, NoReturn

from litestar import Request, delete, get, post, put
from litestar.datastructures import State
from msgspec import Meta, Struct

from proxy.config.schema import Positive
from proxy.errors import ApiError, bad_request, not_found
from proxy.http.auth import authenticate
from proxy.http.spend import usd_fields
from proxy.ledger import budgets as ledger_budgets
from proxy.ledger import keys
from proxy.ledger import unsettled as ledger_unsettled
from proxy.ledger.keys import ApiKey, KeyRules
from proxy.ledger.unsettled import resolve
from proxy.pricing.money import format_usd, parse_usd
from proxy.records import Window

Name = Annotated[str, Meta(min_length=1, max_length=128)]


class KeyRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A key to be made. Amounts are USD as text, such as "12.50"."""

    name: Name
    expires_at: datetime | None = None
    budget_usd: str | None = None
    budget_window: Window = "total"
    models: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None


class Rotation(Struct, frozen=True, forbid_unknown_fields=True):
    """For how long the old secret still works."""

    grace_s: Annotated[int, Meta(ge=0, le=30 * 86400)] = 0


class Amount(Struct, frozen=True, forbid_unknown_fields=True):
    """USD as text."""

    usd: str
    window: Window = "total"


@get("/v1/admin/keys")
async def list_keys(request: Request[Any, Any, State], state: State) -> dict[str, object]:
    """List all keys, without secrets."""
    await _admin(request, state)
    return {"object": "list", "data": [_told(key) for key in await keys.list_keys(state.gateway.database)]}


@post("/v1/admin/keys")
async def create_key(request: Request[Any, Any, State], state: State, data: KeyRequest) -> dict[str, object]:
    """Make a key; the answer is the only place that ever shows it."""
    await _admin(request, state)
    budget = None if data.budget_usd is None else _usd(data.budget_usd, "budget_usd")
    rules = KeyRules(
        expires_at=data.expires_at, budget=budget, budget_window=data.budget_window, models=data.models,
        modes=data.modes, requests_per_minute=data.requests_per_minute, tokens_per_minute=data.tokens_per_minute,
    )  # fmt: skip
    new = await keys.create_key(state.gateway.database, data.name, rules)
    state.callers.clear()
    return {"object": "key", "id": new.id, "key": new.token}


@post("/v1/admin/keys/{key_id:str}/rotate", status_code=200)
async def rotate_key(
    request: Request[Any, Any, State], state: State, key_id: str, data: Rotation
) -> dict[str, object]:
    """Give a key a new secret."""
    await _admin(request, state)
    new = await keys.rotate_key(state.gateway.database, key_id, timedelta(seconds=data.grace_s))
    if new is None:
        _no_key(key_id)
    state.callers.clear()
    return {"object": "key", "id": new.id, "key": new.token}


@put("/v1/admin/keys/{key_id:str}/budget")
async def set_key_budget(
    request: Request[Any, Any, State], state: State, key_id: str, data: Amount
) -> dict[str, object]:
    """Set a key's own budget, higher or lower."""
    await _admin(request, state)
    limit = _usd(data.usd, "usd")
    if not await keys.set_key_budget(state.gateway.database, key_id, limit, data.window):
        _no_key(key_id)
    state.callers.clear()
    return {"object": "budget", "scope": "key", "name": key_id, "limit_usd": format_usd(limit)}


@delete("/v1/admin/keys/{key_id:str}", status_code=200)
async def revoke_key(request: Request[Any, Any, State], state: State, key_id: str) -> dict[str, object]:
    """Revoke a key. This process forgets it at once, others within 5 s."""
    await _admin(request, state)
    if not await keys.revoke_key(state.gateway.database, key_id):
        _no_key(key_id)
    state.callers.clear()
    return {"object": "key", "id": key_id, "revoked": True}


@get("/v1/admin/budgets")
async def list_budgets(request: Request[Any, Any, State], state: State) -> dict[str, object]:
    """List all budgets that have been used."""
    await _admin(request, state)
    rows = await ledger_budgets.list_budgets(state.gateway.database)
    return {"object": "list", "data": [usd_fields(row) for row in rows]}


@put("/v1/admin/budgets/session/{name:str}")
async def set_session_budget(
    request: Request[Any, Any, State], state: State, name: str, data: Amount
) -> dict[str, object]:
    """Set a session's limit, higher or lower; only here can it be raised."""
    await _admin(request, state)
    limit = _usd(data.usd, "usd")
    if not await ledger_budgets.set_session_budget(state.gateway.database, name, limit):
        raise not_found(f"The session {name[:60]!r} has no budget.", code="budget_not_found")
    return {"object": "budget", "scope": "session", "name": name, "limit_usd": format_usd(limit)}


@get("/v1/admin/unsettled")
async def list_unsettled(request: Request[Any, Any, State], state: State) -> dict[str, object]:
    """List paid calls whose process died: they count at their worst case until somebody knows better."""
    await _admin(request, state)
    rows = await ledger_unsettled.list_unsettled(state.gateway.database)
    return {"object": "list", "data": [usd_fields(row) for row in rows]}


@put("/v1/admin/unsettled/{call_id:str}")
async def settle(
    request: Request[Any, Any, State], state: State, call_id: str, data: Amount
) -> dict[str, object]:
    """Settle such a call at what the upstream's bill says."""
    await _admin(request, state)
    cost = _usd(data.usd, "usd")
    if not await resolve(state.gateway.database, call_id, cost):
        raise not_found(f"No unsettled call {call_id[:60]!r}.", code="call_not_found")
    return {"object": "call", "id": call_id, "cost_usd": format_usd(cost)}


async def _admin(request: Request[Any, Any, State], state: State) -> None:
    name = state.gateway.settings.server.admin_key_env
    if not os.environ.get(name):
        raise ApiError(403, f"No admin key is set: start the proxy with {name}.", code="admin_key_not_set")
    caller = await authenticate(state, request.scope["headers"])
    if not caller.admin:
        raise ApiError(403, f"This needs the admin key ({name}).", code="admin_key_needed")


def _told(key: ApiKey) -> dict[str, object]:
    rules = key.rules
    return {
        "object": "key", "id": key.id, "prefix": key.prefix, "name": key.name, "created_at": key.created_at,
        "expires_at": rules.expires_at, "revoked_at": key.revoked_at,
        "budget_usd": None if rules.budget is None else format_usd(rules.budget),
        "budget_window": rules.budget_window, "models": rules.models, "modes": rules.modes,
        "requests_per_minute": rules.requests_per_minute, "tokens_per_minute": rules.tokens_per_minute,
    }  # fmt: skip


def _usd(text: str, param: str) -> int:
    try:
        return parse_usd(text)
    except ValueError as e:
        raise bad_request(f"'{param}': {e}.", param=param, code="invalid_value") from None


def _no_key(key_id: str) -> NoReturn:
    raise not_found(f"No active key {key_id[:60]!r}.", code="key_not_found")


routes = (
    list_keys, create_key, rotate_key, set_key_budget, revoke_key, list_budgets, set_session_budget, list_unsettled,
    settle,
)  # fmt: skip
