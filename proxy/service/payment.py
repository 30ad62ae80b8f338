"""How a request pays: its payer, its budgets, and the parts that its paid calls need."""

from proxy.config.money import Limit
from proxy.service.request import ModelRequest
from proxy.service.request_log import RequestLog
from proxy.service.state import AppState
from proxy.spending.budget import RequestBudget
from proxy.spending.paid import Spending
from proxy.spending.payer import Payer


def payer_of(state: AppState, request: ModelRequest) -> Payer:
    """Return the client that pays for a request."""
    audit, controls = state.settings.audit, request.controls
    return Payer(
        key=request.key,
        session=controls.session,
        session_budget=controls.session_budget,
        user=request.user,
        tags=request.tags,
        budget=controls.budget,
        audit_limit=None if request.audits is None else Limit(usd=audit.budget_usd, window=audit.window),
    )


def budget_of(state: AppState, request: ModelRequest) -> RequestBudget:
    """Return the budgets of a request."""
    return RequestBudget(
        settings=state.settings,
        payer=payer_of(state, request),
        request_id=request.id,
        writer=state.writer,
        database=state.database,
        zone=state.zone,
        opened=state.opened,
    )


def spending_of(state: AppState, request_log: RequestLog, budget: RequestBudget) -> Spending:
    """Return the parts that the paid calls of a request need. The request log gets their records."""
    return Spending(
        prices=state.prices,
        upstreams=state.upstreams,
        budget=budget,
        request_id=request_log.request.id,
        key_id=request_log.request.key_id,
        deadline=request_log.clock + state.settings.server.request_timeout_s,
        task=lambda: None if request_log.task is None else request_log.task.value,
        model_time=request_log.model_time,
        calls=request_log.calls,
        trace=request_log.request.trace,
    )
