"""Check whether a request may be made now."""

from proxy.errors import forbidden, ledger_unavailable, rate_limited
from proxy.ledger.rate_limits import AdmissionRequest, RateLimitExceededError
from proxy.ledger.writer import LedgerUnavailableError
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
        ApiError: 403 if the key may not use the model or the mode, 429 if a rate limit is reached.
    """
    if request.key is None:
        return
    rules = request.key.rules
    for model in (request.body["model"], *(request.body.get("models") or ())):
        if rules.models and model not in rules.models:
            raise forbidden(
                f"This key may not use the model {model[:100]!r}; it may use {', '.join(rules.models)}.",
                code="model_not_allowed",
                param="model",
            )
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
