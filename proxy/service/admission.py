"""Check whether a request may be made now."""

from proxy.errors import forbidden, ledger_unavailable, rate_limited
from proxy.ledger.rate_limits import AdmissionRequest, RateLimitExceededError
from proxy.ledger.writer import LedgerUnavailableError
from proxy.service.access import called_models, reachable
from proxy.service.request import ModelRequest
from proxy.service.routing import Route
from proxy.service.state import AppState


def require_ledger(state: AppState) -> None:
    """Check that this request can be recorded.

    Raises:
        ApiError: the spool is full, and `ledger.on_outage` is "refuse".
    """
    if state.writer.full and state.settings.ledger.on_outage == "refuse":
        raise ledger_unavailable()


async def admit(state: AppState, request: ModelRequest, route: Route) -> None:
    """Check a request against the rules of its key, and count it against the key's rate limits.

    Raises:
        ApiError: 403 if the key may not use the mode or a model that the request may call, 429 if a rate limit is
            reached.
    """
    if request.key is None:
        return
    rules = request.key.rules
    if rules.models:
        _require_models(state, request, route, rules.models)
    if rules.modes and route.mode not in rules.modes:
        raise forbidden(
            f"This key may not use the mode {route.mode!r}; it may use {', '.join(rules.modes)}.",
            code="mode_not_allowed",
        )
    if rules.requests_per_minute is None and rules.tokens_per_minute is None:
        return
    limits = rules.requests_per_minute, rules.tokens_per_minute
    try:
        await state.writer.admit(AdmissionRequest(request.key.id, request.received_at, *limits))
    except RateLimitExceededError as e:
        raise rate_limited(e.limit, e.unit, e.retry_after_s) from e
    except LedgerUnavailableError as e:
        raise ledger_unavailable() from e


def _require_models(state: AppState, request: ModelRequest, route: Route, allowed: tuple[str, ...]) -> None:
    """Check the names in a request, and every model that its route may call.

    Raises:
        ApiError: 403 if the key may not use one of them.
    """
    named = (request.body["model"], *(request.body.get("models") or ()))
    refused = next((name for name in named if name not in allowed), None)
    if refused is None and request.key is not None:
        reached = reachable(state.settings, request.key.rules)
        called = called_models(route, request.controls.max_stage)
        refused = next((name for name in called if name not in reached), None)
    if refused is not None:
        raise forbidden(
            f"This key may not use the model {refused[:100]!r}; it may use {', '.join(allowed)}.",
            code="model_not_allowed",
            param="model",
        )
