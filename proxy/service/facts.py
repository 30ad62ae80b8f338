"""The facts about a request that its client sees: the `X-COPE-*` response headers and the `cope` object.

A new response header is one more row in `HEADERS` or `FINAL_HEADERS`, and one more member of the object.
"""

from collections.abc import Mapping

from proxy.cascade.types import TaskKind
from proxy.pricing.money import format_usd
from proxy.records import StageRecord
from proxy.service.request_log import RequestLog

HEADERS = {
    "x-cope-request-id": "request_id",
    "x-cope-task": "task",
    "x-cope-stage": "stage",
    "x-cope-confidence": "confidence",
    "x-cope-votes": "votes",
    "x-cope-model": "model",
    "x-cope-degraded": "degraded",
}
"""Headers of every answer, each with the member of the `cope` object that it repeats."""

FINAL_HEADERS = {
    "x-cope-cost-usd": "cost_usd",
    "x-cope-baseline-usd": "baseline_usd",
    "x-cope-cached-tokens": "cached_tokens",
    "x-cope-budget-remaining-usd": "budget_remaining_usd",
}
"""Further headers of an answer that is complete when its headers are sent."""
_ALL_HEADERS = HEADERS | FINAL_HEADERS


def cope_object(request_log: RequestLog) -> dict[str, object]:
    """Return the `cope` object of the response body."""
    return {
        "request_id": request_log.request.id,
        "task": request_log.task,
        "mode": request_log.mode,
        "stage": request_log.stage,
        "confidence": None if request_log.confidence is None else round(request_log.confidence, 4),
        "votes": _votes_object(request_log),
        "model": request_log.model,
        "cost_usd": format_usd(request_log.cost),
        "baseline_usd": _usd(request_log.baseline),
        "cached_tokens": request_log.cached_tokens,
        "budget_remaining_usd": _usd(request_log.remaining),
        "degraded": request_log.degraded,
        "reason": request_log.reason,
        "stages": [_stage_object(stage) for stage in request_log.cascade_log.stages],
    }


def response_headers(
    request_log: RequestLog, *, final: bool, members: Mapping[str, object] | None = None
) -> dict[str, str]:
    """Return the response headers. Only a `final` answer knows its cost. `members`: the `cope` object, if it is made."""
    if members is None:
        members = cope_object(request_log)
    names = _ALL_HEADERS if final else HEADERS
    own = {header: _written(value) for header, name in names.items() if (value := members[name]) is not None}
    return {"x-request-id": request_log.request.id, **request_log.upstream_headers, **own}


def _usd(amount: int | None) -> str | None:
    return None if amount is None else format_usd(amount)


def _votes_object(request_log: RequestLog) -> dict[str, object] | None:
    """Return the counts behind the confidence of a local answer, or `None` if it does not come from votes.

    `bound` is True if not all planned samples were drawn. The confidence is then the least that all would have given.
    """
    if request_log.confidence is None or request_log.task is None or request_log.task is TaskKind.OPEN:
        return None
    stages = request_log.cascade_log.stages
    deciding = next((s for s in stages if s.stage == request_log.stage), None)
    if deciding is None:
        return None
    counts: dict[str, object] = {name: getattr(deciding, name) for name in ("agreed", "drawn", "planned")}
    return counts | {"bound": deciding.drawn < deciding.planned}


def _written(member: object) -> str:
    """Return a member of the object as the value of a header."""
    if isinstance(member, dict):
        return f"{member['agreed']} of {member['drawn']} drawn agree, {member['planned']} planned"
    return str(member)


def _stage_object(stage: StageRecord) -> dict[str, object]:
    return {
        "stage": stage.stage,
        "drawn": stage.drawn,
        "of": stage.planned,
        "agreed": stage.agreed,
        "confidence": round(stage.confidence, 4),
        "threshold": stage.threshold,
        "accepted": stage.accepted,
    }
