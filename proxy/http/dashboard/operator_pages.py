"""The pages for who runs the proxy: budgets, quality by audits, and health."""

from datetime import timedelta

from litestar import Response, get

from proxy.errors import forbidden
from proxy.http.auth import Caller
from proxy.http.dashboard import figures
from proxy.http.dashboard.render import page
from proxy.http.dashboard.shared import MOST_GROUPS, common, key_names
from proxy.http.spend import flush
from proxy.ids import now
from proxy.ledger import audits as ledger_audits
from proxy.ledger import budgets as ledger_budgets
from proxy.ledger import unsettled as ledger_unsettled
from proxy.ledger.audits import Models
from proxy.service.state import AppState

_AUDIT_DAYS = 30


@get("/dashboard/budgets", include_in_schema=False)
async def budgets(app: AppState, caller: Caller) -> Response[str]:
    """Show budgets with their use and their forecast."""
    await flush(app)
    at = now()
    rows = [b for b in await ledger_budgets.list_budgets(app.database) if _may_see(caller, b)]
    current = [figures.budget_state(b, at, app.zone) for b in rows if figures.is_current(b, at, app.zone)]
    current.sort(key=lambda state: -state.share)
    return page(
        "budgets.html",
        {
            **common(app, caller, "budgets"),
            "states": current[:MOST_GROUPS],
            "hidden": max(0, len(current) - MOST_GROUPS),
            "names": await key_names(app, caller),
        },
    )


@get("/dashboard/quality", include_in_schema=False)
async def quality(app: AppState, caller: Caller) -> Response[str]:
    """Show how often audits agreed with local answers."""
    _require_all(caller)
    models = Models(small=app.settings.small.model, large=app.settings.large.model)
    since = now() - timedelta(days=_AUDIT_DAYS)
    return page(
        "quality.html",
        {
            **common(app, caller, "quality"),
            "models": models,
            "days": _AUDIT_DAYS,
            "rows": await ledger_audits.agreements(app.database, since, models),
        },
    )


@get("/dashboard/health", include_in_schema=False)
async def health(app: AppState, caller: Caller) -> Response[str]:
    """Show the tiers, the ledger and unsettled money."""
    _require_all(caller)
    return page(
        "health.html",
        {
            **common(app, caller, "health"),
            "small": app.small.available,
            "upstreams": {
                name or "large": not upstream.breaker.is_open for name, upstream in app.upstreams.items()
            },
            "backlog": app.writer.backlog_bytes,
            "dropped": app.writer.dropped,
            "unsettled": await ledger_unsettled.list_unsettled(app.database),
            "total": await ledger_unsettled.unsettled_sum(app.database),
        },
    )


def _may_see(caller: Caller, budget: ledger_budgets.BudgetView) -> bool:
    if caller.key is None:
        return True
    return budget.owner == caller.key.id or (budget.scope == "key" and budget.name == caller.key.id)


def _require_all(caller: Caller) -> None:
    if caller.key is not None:
        raise forbidden("This page is about all keys. Sign in with the admin key.", code="admin_key_needed")
