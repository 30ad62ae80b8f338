"""The account of one request, from its arrival to its row in the ledger. State is its point."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from proxy.cascade.engine import CascadeLog
from proxy.pricing.money import format_usd
from proxy.records import CallRecord, PlanRecord, RequestRecord, Stage
from proxy.service.request import ModelRequest, clean


@dataclass
class RequestLog:
    """What is known so far about a request that is under way."""

    request: ModelRequest
    mode: str
    clock: float = field(default_factory=time.monotonic)
    cascade_log: CascadeLog = field(default_factory=CascadeLog)
    calls: list[CallRecord] = field(default_factory=list)
    task: str | None = None
    stage: Stage | None = None
    confidence: float | None = None
    model: str | None = None
    reason: str | None = None
    degraded: str | None = None
    status: int = 200
    error: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    baseline: int | None = None
    first_token_ms: int | None = None
    remaining: int | None = None
    answer: str | None = None
    upstream_headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def cost(self) -> int:
        """What the request has cost so far, in nano-USD."""
        return sum(call.cost for call in self.calls)

    def elapsed_ms(self) -> int:
        """Return milliseconds since the request arrived."""
        return round((time.monotonic() - self.clock) * 1000)

    def first_token(self) -> None:
        """Note that the first byte of the answer leaves now."""
        if self.first_token_ms is None:
            self.first_token_ms = self.elapsed_ms()

    def facts(self) -> dict[str, object]:
        """Return the `cope` object of the response body."""
        return {
            "request_id": self.request.id,
            "task": self.task,
            "mode": self.mode,
            "stage": self.stage,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "model": self.model,
            "cost_usd": format_usd(self.cost),
            "baseline_usd": None if self.baseline is None else format_usd(self.baseline),
            "budget_remaining_usd": None if self.remaining is None else format_usd(self.remaining),
            "degraded": self.degraded,
            "reason": self.reason,
            "stages": [
                {
                    "stage": s.stage,
                    "drawn": s.drawn,
                    "of": s.planned,
                    "agreed": s.agreed,
                    "confidence": round(s.confidence, 4),
                    "threshold": s.threshold,
                    "accepted": s.accepted,
                }
                for s in self.cascade_log.stages
            ],
        }

    def headers(self, *, final: bool) -> dict[str, str]:
        """Return the X-COPE-* response headers; costs only once they are final."""
        facts = self.facts()
        names = {
            "x-cope-request-id": "request_id",
            "x-cope-task": "task",
            "x-cope-stage": "stage",
            "x-cope-confidence": "confidence",
            "x-cope-model": "model",
            "x-cope-degraded": "degraded",
        }
        if final:
            names |= {
                "x-cope-cost-usd": "cost_usd",
                "x-cope-baseline-usd": "baseline_usd",
                "x-cope-budget-remaining-usd": "budget_remaining_usd",
            }
        own = {h: str(facts[f]) for h, f in names.items() if facts[f] is not None}
        return {"x-request-id": self.request.id, **self.upstream_headers, **own}

    def voted_calls(self) -> list[CallRecord]:
        """Return the small tier's calls with the vote of each sample beside it; paid ones are on record already."""
        return [
            replace(call, vote=self.cascade_log.vote(call.stage, call.sample))
            if call.role == "executor" and call.sample is not None
            else call
            for call in self.calls
            if call.tier == "small"
        ]

    def plan_records(self) -> list[PlanRecord]:
        """Return the plans made, for a ledger that keeps content."""
        return [
            PlanRecord(
                request_id=self.request.id,
                stage=p.stage,
                kind=p.kind,
                sample=p.sample,
                text=p.text,
                chosen=p.chosen,
            )
            for p in self.cascade_log.plans
        ]

    def record(self, *, store_content: bool) -> RequestRecord:
        """Return the request's row."""
        body = self.request.body
        return RequestRecord(
            id=self.request.id,
            started_at=self.request.received_at,
            key_id=self.request.key_id,
            session=self.request.controls.session,
            user=self.request.user,
            task=self.task,
            mode=self.mode,
            stage=self.stage,
            confidence=self.confidence,
            status=self.status,
            reason=self.reason,
            degraded=self.degraded,
            requested_model=clean(str(body.get("model"))),
            model=self.model,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cost=self.cost,
            baseline=self.baseline,
            latency_ms=self.elapsed_ms(),
            first_token_ms=self.first_token_ms,
            stream=self.request.stream,
            error=self.error,
            tags=self.request.tags,
            stages=tuple(self.cascade_log.stages),
            prompt=_storable(msgspec.json.encode(self.request.format.prompt(body)).decode())
            if store_content
            else None,
            answer=_storable(self.answer) if store_content else None,
        )


def _storable(text: str | None) -> str | None:
    return None if text is None else text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
