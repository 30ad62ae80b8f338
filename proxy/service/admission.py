"""Whether a key may make this request now."""

from proxy.errors import forbidden, ledger_unavailable, rate_limited
from proxy.ledger.rate_limits import Admit, RateLimitExceededError
from proxy.ledger.writer import LedgerUnavailableError
from proxy.service.request import ModelRequest
from proxy.service.routing import Route
from proxy.service.state import AppState


async def admit(state: AppState, request: ModelRequest, way: Route) -> None:
    """Hold a request against the rules of its key.

    Raises:
        ApiError: 403 for a model or mode that the key may not use; 429 when its minute is used up.
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
    if rules.modes and way.mode not in rules.modes:
        raise forbidden(
            f"This key may not use the mode {way.mode!r}; it may use {', '.join(rules.modes)}.",
            code="mode_not_allowed",
        )
    if rules.requests_per_minute is None and rules.tokens_per_minute is None:
        return
    limits = rules.requests_per_minute, rules.tokens_per_minute
    try:
        await state.writer.admit(Admit(request.key.id, request.received_at, *limits))
    except RateLimitExceededError as e:
        raise rate_limited(e.limit, e.what, e.retry_after_s) from e
    except LedgerUnavailableError as e:
        raise ledger_unavailable() from e
