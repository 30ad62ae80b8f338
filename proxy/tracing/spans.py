"""The spans of a finished request, made from its records: plain data, without OpenTelemetry."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proxy.pricing.money import NANO_PER_USD
from proxy.records import MOST, CallRecord, RequestRecord, StageRecord
from proxy.tracing.attributes import Fact, Facts, Value, short
from proxy.tracing.content import input_messages, output_messages, shortened
from proxy.tracing.trace import Content, EndedRequest

WORKFLOW = "cope"
OPENING: Facts = {Fact.OPERATION: "invoke_workflow", Fact.WORKFLOW: WORKFLOW, Fact.HTTP_METHOD: "POST"}
"""The facts of a request that its sampler knows."""
OPERATIONS: Mapping[str, str] = {
    "/chat/completions": "chat",
    "/responses": "chat",
    "/responses/compact": "compact",
    "/responses/input_tokens": "count_tokens",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
}
"""The operation of a call that answers, by the endpoint of its request."""

_NANOS_PER_MS = 10**6
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""An error code. An upstream can send any text as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelServer:
    """The server of a large model."""

    provider: str
    """Its name in `gen_ai.provider.name`."""
    address: str | None
    port: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span below that of the request. Times are nanoseconds since 1970."""

    name: str
    start: int
    end: int
    facts: Facts
    call_id: str | None = None
    """The call whose server was told this span's id. None: a group of calls."""
    error: str | None = None
    parts: Sequence["Span"] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The time of a request, and the times at which its calls began, by their ids. All are nanoseconds since 1970."""

    start: int
    end: int
    calls: Mapping[str, int] = field(default_factory=dict)

    def of(self, call: CallRecord) -> tuple[int, int]:
        """Return the start and the end of a call. Both are within the request: records are rounded, and clocks jump."""
        begun = self.calls.get(call.id)
        start = round(call.started_at.timestamp() * 1e9) if begun is None else begun
        start = max(self.start, min(start, self.end))
        return start, max(start, min(start + call.latency_ms * _NANOS_PER_MS, self.end))


def request_facts(ended: EndedRequest) -> Facts:
    """Return the facts of the request's own span, beside those of its opening."""
    record = ended.record
    facts: dict[Fact, Value | None] = {
        Fact.HTTP_ROUTE: f"/v1{ended.path}",
        Fact.HTTP_STATUS: record.status,
        Fact.REQUEST_ID: record.id,
        Fact.KEY_ID: record.key_id,
        Fact.CONVERSATION: _short(record.session),
        Fact.REQUEST_MODEL: short(record.requested_model),
        Fact.RESPONSE_MODEL: _short(record.model),
        Fact.STREAM: record.stream,
        Fact.FIRST_CHUNK_S: _first_chunk_s(record),
        Fact.MODE: record.mode,
        Fact.TASK: record.task,
        Fact.STAGE: record.stage,
        Fact.DECISION: decision(record),
        # After a colon follow words of the small model's server, which may quote the prompt.
        Fact.REASON: None if record.reason is None else short(record.reason.partition(":")[0]),
        Fact.DEGRADED: _short(record.degraded),
        Fact.CONFIDENCE: _share(record.confidence),
        Fact.CALLS: len(ended.calls),
        Fact.COST_USD: _usd(record.cost),
        Fact.COST_NANO_USD: record.cost,
        Fact.BASELINE_USD: None if record.baseline is None else _usd(record.baseline),
        Fact.ERROR_TYPE: None if record.error is None else _error_type(record.error),
    }
    if ended.content is not None:
        facts[Fact.INPUT_MESSAGES] = input_messages(ended.content.prompt)
        facts[Fact.OUTPUT_MESSAGES] = output_messages(ended.content.answer)
    return facts


def decision(record: RequestRecord) -> str:
    """Return how a request was answered, in one word."""
    if record.error is not None:
        return "disconnected" if record.status == 499 else "failed"
    if record.stage == 3:
        return "escalated" if record.stages else "direct"
    if record.degraded is not None:
        return "degraded"
    return "local" if record.mode == "small" else "accepted"


def failure(record: RequestRecord) -> str | None:
    """Return the error type if the proxy or its upstream failed. An error of the client is none of the span's."""
    return None if record.error is None or record.status < 500 else _error_type(record.error)


def call_spans(ended: EndedRequest, period: Period, servers: Mapping[str, ModelServer]) -> list[Span]:
    """Return the spans of all calls. Those of a stage that was decided are the parts of a span for the stage."""
    groups = _vote_groups(ended.calls)
    spans: defaultdict[int | None, list[Span]] = defaultdict(list)
    stages = {stage.stage: stage for stage in ended.record.stages}
    for call in ended.calls:
        start, end = period.of(call)
        operation = _operation(call, ended.path)
        span = Span(
            name=f"{operation} {short(call.model)}",
            start=start,
            end=end,
            facts=_call_facts(call, operation, servers.get(call.model))
            | {Fact.VOTE_GROUP: groups.get((call.stage, call.vote))}
            | _call_content(call, ended.content),
            call_id=call.id,
            error=_call_error(call),
        )
        spans[call.stage if call.stage in stages else None].append(span)
    grouped = [_stage_span(stages[stage], parts) for stage, parts in spans.items() if stage in stages]
    return sorted([*grouped, *spans[None]], key=lambda span: span.start)


def _stage_span(stage: StageRecord, parts: Sequence[Span]) -> Span:
    return Span(
        name=f"stage {stage.stage}",
        start=min(part.start for part in parts),
        end=max(part.end for part in parts),
        facts={
            Fact.STAGE: stage.stage,
            Fact.PLANNED: stage.planned,
            Fact.DRAWN: stage.drawn,
            Fact.AGREED: stage.agreed,
            Fact.CONFIDENCE: _share(stage.confidence),
            Fact.THRESHOLD: _share(stage.threshold),
            Fact.ACCEPTED: stage.accepted,
        },
        parts=sorted(parts, key=lambda part: part.start),
    )


def _call_facts(call: CallRecord, operation: str, server: ModelServer | None) -> dict[Fact, Value | None]:
    usage = call.usage
    return {
        Fact.OPERATION: operation,
        Fact.PROVIDER: "vllm" if call.tier == "small" else "openai" if server is None else server.provider,
        Fact.SERVER_ADDRESS: None if server is None else server.address,
        Fact.SERVER_PORT: None if server is None else server.port,
        Fact.REQUEST_MODEL: short(call.model),
        Fact.FINISH_REASONS: None if call.finish_reason is None else (short(call.finish_reason),),
        Fact.INPUT_TOKENS: usage.prompt_tokens,
        Fact.OUTPUT_TOKENS: usage.completion_tokens,
        Fact.CACHE_READ_TOKENS: usage.cached_tokens or None,
        Fact.CACHE_WRITE_TOKENS: usage.cache_write_tokens or None,
        Fact.REASONING_TOKENS: usage.reasoning_tokens or None,
        Fact.COST_AMOUNT: _usd(call.cost),
        Fact.COST_CURRENCY: "USD",
        Fact.COST_SOURCE: "provider" if call.cost == usage.charged else "local",
        Fact.COST_USD: _usd(call.cost),
        Fact.COST_NANO_USD: call.cost,
        Fact.CALL_ID: call.id,
        Fact.TIER: call.tier,
        Fact.STAGE: call.stage,
        Fact.SAMPLE: call.sample,
        Fact.ESTIMATED: call.estimated,
        Fact.OVERRUN: call.overrun or None,
        Fact.ERROR_TYPE: _call_error(call),
    }


def _call_content(call: CallRecord, content: Content | None) -> dict[Fact, Value | None]:
    """Return the vote of a sample, or the text of the plan that a call wrote."""
    if content is None:
        return {}
    if call.role == "executor":
        return {Fact.VOTE: None if call.vote is None else shortened(call.vote)}
    texts = (p.text for p in content.plans if (p.stage, p.sample) == (call.stage, call.sample))
    text = next(texts, None)
    return {Fact.PLAN: None if text is None else shortened(text)}


def _vote_groups(calls: Sequence[CallRecord]) -> dict[tuple[int, str | None], int]:
    """Return a number for each vote of a stage, because a vote itself is content."""
    groups: dict[tuple[int, str | None], int] = {}
    for call in calls:
        if call.vote is not None:
            seen = sum(stage == call.stage for stage, _ in groups)
            groups.setdefault((call.stage, call.vote), seen + 1)
    return groups


def _operation(call: CallRecord, path: str) -> str:
    if call.role == "planner":
        return "plan"
    return "chat" if call.tier == "small" else OPERATIONS.get(path, "chat")


def _call_error(call: CallRecord) -> str | None:
    if call.error is None and call.finish_reason != "error":
        return None
    if call.tier == "small":
        return "small_model_failed"  # the record has the words of its server
    # A status and a code.
    return _error_type(call.error.partition(" ")[2]) if call.error else "upstream_error"


def _error_type(code: str) -> str:
    return code if _PLAIN.fullmatch(code) else "_OTHER"


def _first_chunk_s(record: RequestRecord) -> float | None:
    if record.first_token_ms is None or not record.stream:
        return None
    return min(record.first_token_ms, MOST) / 1000


def _usd(nano: int) -> float:
    return max(-MOST, min(nano, MOST)) / NANO_PER_USD


def _share(value: float | None) -> float | None:
    """Return a confidence or a threshold. A threshold above 1 means never, and is left out."""
    return value if value is not None and 0 <= value <= 1 else None


def _short(text: str | None) -> str | None:
    return None if text is None else short(text)
