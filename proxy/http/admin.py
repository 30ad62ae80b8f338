"""/v1/admin: keys, session budgets and unsettled calls, for the admin key only."""

from datetime import datetime, timedelta
from typing import Annotated

from litestar import Router, delete, get, patch, post, put
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import asdict

from proxy.errors import ApiError, bad_request, not_found
from proxy.http.auth import Authenticator
from proxy.http.guards import requires_admin
from proxy.http.usd_fields import usd_fields
from proxy.ledger import budgets as ledger_budgets
from proxy.ledger import keys
from proxy.ledger import unsettled as ledger_unsettled
from proxy.ledger.keys import ApiKey, KeyRules
from proxy.ledger.unsettled import resolve
from proxy.pricing.money import format_usd, parse_usd
from proxy.records import MOST, Attribution, Window, attribution_name
from proxy.service.state import AppState

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Rate = Annotated[int, Meta(ge=1, le=MOST)]


class KeyRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The name and the rules of a new key. Amounts are USD as text, such as "12.50"."""

    name: Name
    expires_at: datetime | None = None
    budget_usd: str | None = None
    budget_window: Window = "total"
    models: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    requests_per_minute: Rate | None = None
    tokens_per_minute: Rate | None = None
    team: str | None = None
    cost_center: str | None = None
    environment: str | None = None


class KeyChanges(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """New values of a key. Members that are missing stay as they are, and `null` removes one."""

    team: str | UnsetType | None = UNSET
    cost_center: str | UnsetType | None = UNSET
    environment: str | UnsetType | None = UNSET


class Rotation(Struct, frozen=True, forbid_unknown_fields=True):
    """How long the old secret still works."""

    grace_s: Annotated[int, Meta(ge=0, le=30 * 86400)] = 0


class Amount(Struct, frozen=True, forbid_unknown_fields=True):
    """USD as text."""

    usd: str
    window: Window = "total"


@get("/keys")
async def list_keys(app: AppState) -> dict[str, object]:
    """List all keys, without secrets."""
    return {"object": "list", "data": [_key_fields(key) for key in await keys.list_keys(app.database)]}


@post("/keys")
async def create_key(app: AppState, callers: Authenticator, data: KeyRequest) -> dict[str, object]:
    """Create a key. The secret is in this answer only."""
    budget = None if data.budget_usd is None else _usd(data.budget_usd, "budget_usd")
    rules = KeyRules(
        expires_at=data.expires_at, budget=budget, budget_window=data.budget_window, models=data.models,
        modes=data.modes, requests_per_minute=data.requests_per_minute, tokens_per_minute=data.tokens_per_minute,
    )  # fmt: skip
    new = await keys.create_key(app.database, data.name, rules, Attribution(**_attribution(data)))
    callers.forget()
    return {"object": "key", "id": new.id, "key": new.token}


@patch("/keys/{key_id:str}")
async def update_key(
    app: AppState, callers: Authenticator, key_id: str, data: KeyChanges
) -> dict[str, object]:
    """Move a key to another team, cost center or environment. Requests of the past stay where they are."""
    changes = _attribution(data)
    if not changes:
        raise bad_request("Give 'team', 'cost_center' or 'environment'.", code="missing_required_parameter")
    if not await keys.attribute_key(app.database, key_id, changes):
        raise _no_key(key_id)
    callers.forget()
    return {"object": "key", "id": key_id, **changes}


@post("/keys/{key_id:str}/rotate", status_code=200)
async def rotate_key(app: AppState, callers: Authenticator, key_id: str, data: Rotation) -> dict[str, object]:
    """Give a key a new secret."""
    new = await keys.rotate_key(app.database, key_id, timedelta(seconds=data.grace_s))
    if new is None:
        raise _no_key(key_id)
    callers.forget()
    return {"object": "key", "id": new.id, "key": new.token}


@put("/keys/{key_id:str}/budget")
async def set_key_budget(
    app: AppState, callers: Authenticator, key_id: str, data: Amount
) -> dict[str, object]:
    """Set a key's own budget, higher or lower."""
    limit = _usd(data.usd, "usd")
    if not await keys.set_key_budget(app.database, key_id, limit, data.window):
        raise _no_key(key_id)
    callers.forget()
    return {"object": "budget", "scope": "key", "name": key_id, "limit_usd": format_usd(limit)}


@delete("/keys/{key_id:str}", status_code=200)
async def revoke_key(app: AppState, callers: Authenticator, key_id: str) -> dict[str, object]:
    """Revoke a key. This process rejects it at once, other processes within 5 s."""
    if not await keys.revoke_key(app.database, key_id):
        raise _no_key(key_id)
    callers.forget()
    return {"object": "key", "id": key_id, "revoked": True}


@get("/budgets")
async def list_budgets(app: AppState) -> dict[str, object]:
    """List all budgets with spending."""
    rows = await ledger_budgets.list_budgets(app.database)
    return {"object": "list", "data": [usd_fields(row) for row in rows]}


@put("/budgets/session/{name:str}")
async def set_session_budget(
    app: AppState, name: str, data: Amount, key: str | None = None
) -> dict[str, object]:
    """Set a session's limit, higher or lower. A control header can only lower it.

    `key` is the id of the session's key. It is needed only if several keys have a session of this name.
    """
    limit = _usd(data.usd, "usd")
    try:
        found = await ledger_budgets.set_session_budget(app.database, name, limit, key)
    except ledger_budgets.SeveralSessionsError as e:
        raise bad_request(
            f"Several keys have a session {name[:60]!r}. Add ?key= with one of: {', '.join(e.owners)}.",
            param="key",
            code="missing_required_parameter",
        ) from e
    if not found:
        raise not_found(f"The session {name[:60]!r} has no budget.", code="budget_not_found")
    return {"object": "budget", "scope": "session", "name": name, "limit_usd": format_usd(limit)}


@get("/unsettled")
async def list_unsettled(app: AppState) -> dict[str, object]:
    """List paid calls of processes that died. Budgets count their worst case until they are resolved."""
    rows = await ledger_unsettled.list_unsettled(app.database)
    return {"object": "list", "data": [usd_fields(row) for row in rows]}


@put("/unsettled/{call_id:str}")
async def resolve_unsettled(app: AppState, call_id: str, data: Amount) -> dict[str, object]:
    """Resolve an unsettled call at the cost on the upstream's bill."""
    cost = _usd(data.usd, "usd")
    if not await resolve(app.database, call_id, cost):
        raise not_found(f"No unsettled call {call_id[:60]!r}.", code="call_not_found")
    return {"object": "call", "id": call_id, "cost_usd": format_usd(cost)}


def _key_fields(key: ApiKey) -> dict[str, object]:
    rules = key.rules
    return {
        "object": "key", "id": key.id, "prefix": key.prefix, "name": key.name, "created_at": key.created_at,
        "expires_at": rules.expires_at, "revoked_at": key.revoked_at,
        "budget_usd": None if rules.budget is None else format_usd(rules.budget),
        "budget_window": rules.budget_window, "models": rules.models, "modes": rules.modes,
        "requests_per_minute": rules.requests_per_minute, "tokens_per_minute": rules.tokens_per_minute,
        **asdict(key.attribution),
    }  # fmt: skip


def _attribution(data: KeyRequest | KeyChanges) -> dict[str, str | None]:
    """Return the fields of an attribution that a body gives, checked."""
    given: dict[str, str | None] = {}
    for field in Attribution.__struct_fields__:
        value = getattr(data, field)
        try:
            if value is not UNSET:
                given[field] = None if value is None else attribution_name(value)
        except ValueError as e:
            raise bad_request(f"'{field}': {e}.", param=field, code="invalid_value") from None
    return given


def _usd(text: str, param: str) -> int:
    try:
        return parse_usd(text)
    except ValueError as e:
        raise bad_request(f"'{param}': {e}.", param=param, code="invalid_value") from None


def _no_key(key_id: str) -> ApiError:
    return not_found(f"No active key {key_id[:60]!r}.", code="key_not_found")


router = Router(
    "/v1/admin",
    route_handlers=[
        list_keys, create_key, update_key, rotate_key, set_key_budget, revoke_key, list_budgets, set_session_budget,
        list_unsettled, resolve_unsettled,
    ],
    guards=[requires_admin],
)  # fmt: skip
