"""A finished request as one frozen record, and the ledger records made from it."""

import json
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from proxy.cascade.types import Plan
from proxy.records import UNATTRIBUTED, CallRecord, PlanRecord, RequestRecord
from proxy.service.audit_queue import AuditJob
from proxy.service.request import ModelRequest, clean
from proxy.service.request_log import RequestLog
from proxy.service.routing import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A finished request, successful or not."""

    request: ModelRequest
    route: Route
    record: RequestRecord
    """Its outcome: status, task, stage, cost, times. It has no content."""
    calls: tuple[CallRecord, ...]
    """All model calls; those of samples carry their vote."""
    plans: tuple[Plan, ...]
    answer: str | None
    audit: AuditJob | None
    guideline_skipped: bool = False
    """Whether stage 2 was skipped because a guideline would probably not have earned its price."""
    overhead_s: float = 0.0
    """The time without a model call under way."""


def finish(request_log: RequestLog) -> Finished:
    """Return the record of a request that ends now."""
    return Finished(
        request=request_log.request,
        route=request_log.route,
        record=request_record(request_log),
        calls=tuple(_with_vote(request_log, call) for call in request_log.calls),
        plans=tuple(request_log.cascade_log.plans),
        answer=request_log.answer,
        audit=request_log.audit,
        guideline_skipped=request_log.cascade_log.guideline_skipped,
        overhead_s=request_log.overhead_s(),
    )


def request_record(request_log: RequestLog) -> RequestRecord:
    """Return the ledger's record of a request, without its content."""
    request = request_log.request
    attribution = UNATTRIBUTED if request.key is None else request.key.attribution
    large = [call.usage for call in request_log.calls if call.tier == "large"]
    return RequestRecord(
        id=request.id,
        started_at=request.received_at,
        key_id=request.key_id,
        session=request.controls.session,
        user=request.user,
        task=None if request_log.task is None else request_log.task.value,
        mode=request_log.mode,
        stage=request_log.stage,
        confidence=request_log.confidence,
        status=request_log.status,
        reason=request_log.reason,
        degraded=request_log.degraded,
        requested_model=clean(str(request.body.get("model"))),
        model=request_log.model,
        prompt_tokens=request_log.prompt_tokens,
        completion_tokens=request_log.completion_tokens,
        cost=request_log.cost,
        baseline=request_log.baseline,
        latency_ms=request_log.elapsed_ms(),
        first_token_ms=request_log.first_token_ms,
        stream=request.stream,
        error=request_log.error,
        tags=request.tags,
        config=request_log.config,
        sent_tokens=sum(usage.prompt_tokens for usage in large),
        read_tokens=sum(usage.cached_tokens for usage in large),
        written_tokens=sum(usage.cache_write_tokens for usage in large),
        stages=tuple(request_log.cascade_log.stages),
        team=attribution.team,
        cost_center=attribution.cost_center,
        environment=attribution.environment,
    )


def record_with_content(finished: Finished) -> RequestRecord:
    """Return the ledger's record of a request, with its prompt and its answer."""
    request = finished.request
    return replace(finished.record, prompt=_json(request.format.prompt(request.body)), answer=finished.answer)


def plan_records(finished: Finished) -> list[PlanRecord]:
    """Return the ledger's records of the plans that were made."""
    return [
        PlanRecord(
            request_id=finished.request.id,
            stage=p.stage,
            kind=p.kind,
            sample=p.sample,
            text=p.text,
            chosen=p.chosen,
        )
        for p in finished.plans
    ]


def _with_vote(request_log: RequestLog, call: CallRecord) -> CallRecord:
    # A sample that a server has lost was drawn again, by another call.
    if call.role != "executor" or call.sample is None or call.error is not None:
        return call
    return replace(call, vote=request_log.cascade_log.vote(call.stage, call.sample))


def _json(prompt: object) -> str:
    try:
        return msgspec.json.encode(prompt).decode()
    except (UnicodeEncodeError, OverflowError):  # half characters, and integers of more than 64 bits
        return json.dumps(msgspec.to_builtins(prompt))
