"""Which budgets a request counts against."""

from datetime import datetime

from proxy.config.schema import Limit
from proxy.ledger.windows import EPOCH, window_start
from proxy.pricing.money import usd_to_nano
from proxy.records import BudgetRef, Scope
from proxy.service.request import ModelRequest
from proxy.service.state import AppState


def budgets_of(state: AppState, request: ModelRequest, at: datetime) -> tuple[BudgetRef, ...]:
    """Return the shared budgets that a request counts against at a time; a session's first."""
    budgets, controls, key = state.settings.budgets, request.controls, request.key
    refs = []

    def limited(scope: Scope, name: str, limit: Limit | None) -> None:
        if limit is not None:
            start = window_start(limit.window, at, state.zone)
            refs.append(
                BudgetRef(
                    scope=scope,
                    name=name,
                    limit=usd_to_nano(limit.usd),
                    window=limit.window,
                    window_start=start,
                )
            )

    if controls.session is not None:
        owner = request.key_id or ""
        refs.append(
            BudgetRef(
                scope="session", name=controls.session, limit=controls.session_budget, window="total",
                window_start=EPOCH, owner=owner,
            )
        )  # fmt: skip
    if key is not None:
        configured = budgets.keys.get(key.id) or budgets.keys.get(key.name)
        limited("key", key.id, configured)
        if configured is None and key.rules.budget is not None:
            window = key.rules.budget_window
            start = window_start(window, at, state.zone)
            refs.append(
                BudgetRef(scope="key", name=key.id, limit=key.rules.budget, window=window, window_start=start)
            )
    if request.user is not None:
        limited("user", request.user, budgets.users.get(request.user) or budgets.users.get("*"))
    for tag in request.tags:
        limited("tag", tag, budgets.tags.get(tag) or budgets.tags.get(tag.partition("=")[0] + "=*"))
    if request.audits is not None:
        audit = state.settings.audit
        limited("tag", "cope-audit", Limit(usd=audit.budget_usd, window=audit.window))
    if budgets.global_usd is not None:
        limited("global", "", Limit(usd=budgets.global_usd, window=budgets.window))
    return tuple(refs)
