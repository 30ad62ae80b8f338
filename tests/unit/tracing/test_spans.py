"""Any record becomes spans that OTLP can carry."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from proxy.ids import new_id
from proxy.pricing.prices import Price, Usage
from proxy.records import CallRecord, PlanRecord, RequestRecord, StageRecord
from proxy.tracing.attributes import IN_1_37, Fact, named
from proxy.tracing.spans import ModelServer, Period, call_spans, decision, failure
from proxy.tracing.trace import Content, EndedRequest
from proxy.tracing.tracer import OtelTracer, SpanIds, span_id_of
from tests.support.otlp_receiver import spans_of

TEXT = st.text(st.characters(), max_size=40) | st.just("\ud800 \0 x" * 200) | st.just("")
INT = st.integers() | st.sampled_from([0, 1, -1, 2**63, -(2**70), 10**400])
FLOAT = st.floats()
TIME = st.datetimes(timezones=st.just(UTC))
VERSIONS = st.sampled_from(["2026-11", "1.37"])
START = 10**18

USAGES = st.builds(
    Usage,
    prompt_tokens=INT,
    completion_tokens=INT,
    cached_tokens=INT,
    reasoning_tokens=INT,
    cache_write_tokens=INT,
)
CALLS = st.builds(
    CallRecord,
    id=st.builds(new_id, st.just("call")),
    request_id=st.just("req_1"),
    key_id=st.none() | TEXT,
    started_at=TIME,
    stage=st.sampled_from([1, 2, 3]),
    role=st.sampled_from(["planner", "executor"]),
    tier=st.sampled_from(["small", "large"]),
    model=TEXT,
    sample=st.none() | INT,
    usage=USAGES,
    cost=INT,
    price=st.just(Price(input=1, output=1)),
    latency_ms=INT,
    finish_reason=st.none() | TEXT | st.just("error"),
    estimated=st.booleans(),
    vote=st.none() | TEXT,
    error=st.none() | TEXT,
    overrun=st.booleans(),
)
STAGES = st.builds(
    StageRecord,
    stage=st.sampled_from([1, 2]),
    drawn=INT,
    planned=INT,
    agreed=INT,
    confidence=FLOAT,
    threshold=FLOAT,
    accepted=st.booleans(),
)
RECORDS = st.builds(
    RequestRecord,
    id=st.just("req_1"),
    started_at=TIME,
    key_id=st.none() | TEXT,
    session=st.none() | TEXT,
    user=st.none() | TEXT,
    task=st.none() | TEXT,
    mode=st.sampled_from(["cascade", "small", "large", "audit"]),
    stage=st.sampled_from([None, 1, 2, 3]),
    confidence=st.none() | FLOAT,
    status=INT | st.sampled_from([200, 499, 500]),
    reason=st.none() | TEXT,
    degraded=st.none() | TEXT,
    requested_model=TEXT,
    model=st.none() | TEXT,
    prompt_tokens=INT,
    completion_tokens=INT,
    cost=INT,
    baseline=st.none() | INT,
    latency_ms=INT,
    first_token_ms=st.none() | INT,
    stream=st.booleans(),
    error=st.none() | TEXT,
    stages=st.lists(STAGES, max_size=2, unique_by=lambda s: s.stage).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["role", "content", "text", "type", "input", "instructions"]), inner
        )
    ),
    max_leaves=12,
)
PLANS = st.builds(
    PlanRecord,
    request_id=st.just("req_1"),
    stage=st.sampled_from([1, 2]),
    kind=st.just("goal"),
    sample=st.none() | INT,
    text=TEXT,
    chosen=st.booleans(),
)
CONTENTS = st.none() | st.builds(
    Content, prompt=JSON, answer=st.none() | TEXT, plans=st.lists(PLANS, max_size=3)
)
ENDED = st.builds(
    EndedRequest,
    path=st.sampled_from(["/chat/completions", "/embeddings", "/unknown"]),
    record=RECORDS,
    calls=st.lists(CALLS, max_size=5),
    content=CONTENTS,
)


@pytest.fixture(scope="module")
def exported():
    """Return a function that emits a request's spans and returns the finished ones."""
    memory, ids = InMemorySpanExporter(), SpanIds()
    provider = TracerProvider(id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))

    def export(ended, version):
        memory.clear()
        tracer = OtelTracer(
            provider, ids, version, {"m": ModelServer(provider="openai", address="a", port=1)}
        )
        trace = tracer.begin()
        for call in ended.calls[::2]:
            trace.begin_call(call.id)
        trace.end(ended)
        return memory.get_finished_spans()

    return export


@given(ended=ENDED, version=VERSIONS)
def test_any_record_can_be_sent(exported, ended, version):
    """Nothing of it is lost on the way: every attribute arrives, and each call has one span inside its parent's time."""
    spans = exported(ended, version)
    raw = encode_spans(spans).SerializeToString()
    received = spans_of(ExportTraceServiceRequest.FromString(raw))
    assert [set(span.attributes) for span in received] == [set(span.attributes) for span in spans]
    by_id = {span.span_id: span for span in received}
    assert sorted(s.attributes["cope.call_id"] for s in received if s.kind == "CLIENT") == sorted(
        call.id for call in ended.calls
    )
    for span in received:
        parent = by_id.get(span.parent_id)
        assert (parent is None) == (span.kind == "SERVER")
        assert span.start <= span.end
        assert parent is None or parent.start <= span.start <= span.end <= parent.end
        assert len(span.name) < 300
        assert max(len(str(value)) for value in span.attributes.values()) < 40_000


@given(ended=ENDED)
def test_no_content_without_content(exported, ended):
    """Texts of prompts, plans, votes and answers come from `Content` alone."""
    without = EndedRequest(path=ended.path, record=ended.record, calls=ended.calls)
    names = {name for span in exported(without, "2026-11") for name in span.attributes}
    assert not names & {"gen_ai.input.messages", "gen_ai.output.messages", "cope.vote.text", "cope.plan.text"}


def record(**changes):
    usual = {
        "id": "req_1", "started_at": datetime.now(UTC), "key_id": None, "session": None, "user": None,
        "task": "math", "mode": "cascade", "stage": 1, "confidence": 1.0, "status": 200, "reason": None,
        "degraded": None, "requested_model": "cope", "model": "m", "prompt_tokens": 1, "completion_tokens": 1,
        "cost": 0, "baseline": None, "latency_ms": 1, "first_token_ms": None, "stream": False, "error": None,
    }  # fmt: skip
    return RequestRecord(**usual | changes)


STAGE = StageRecord(stage=1, drawn=4, planned=4, agreed=1, confidence=0.25, threshold=2.0, accepted=False)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "accepted"),
        ({"mode": "small"}, "local"),
        ({"degraded": "budget"}, "degraded"),
        ({"stage": 3, "stages": (STAGE,)}, "escalated"),
        ({"stage": 3, "mode": "large"}, "direct"),
        ({"stage": 3, "stages": (STAGE,), "degraded": "output cut to budget"}, "escalated"),
        ({"stage": None, "status": 502, "error": "upstream_broken"}, "failed"),
        ({"stage": 3, "status": 499, "error": "client_disconnected"}, "disconnected"),
    ],
)
def test_the_decision_is_one_word(changes, word):
    """It tells how the request was answered."""
    assert decision(record(**changes)) == word


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (200, None, None),
        (429, "insufficient_quota", None),
        (502, "upstream_broken", "upstream_broken"),
        (500, "a sentence of the upstream, with sk-123", "_OTHER"),
    ],
)
def test_only_codes_are_error_types(status, error, expected):
    """An upstream can send any text as its code. An error of the client is none of the span."""
    assert failure(record(status=status, error=error)) == expected


def test_a_threshold_that_means_never_is_left_out():
    """It is above 1 in the records, which no reader of a trace would understand."""
    call = CallRecord(
        id="call_" + "0" * 24, request_id="req_1", key_id=None, started_at=datetime.now(UTC), stage=1,
        role="executor", tier="small", model="m", sample=0, usage=Usage(), cost=0, price=Price(input=0, output=0),
        latency_ms=1, finish_reason="stop", estimated=False,
    )  # fmt: skip
    ended = EndedRequest(path="/chat/completions", record=record(stages=(STAGE,)), calls=[call])
    (stage,) = call_spans(ended, Period(start=START, end=START + 10), {})
    assert stage.facts[Fact.THRESHOLD] is None
    assert span_id_of(call.id) == 1  # OpenTelemetry has no span with the id 0


@pytest.mark.parametrize("version", ["2026-11", "1.37"])
def test_every_fact_has_a_name_of_its_own(version):
    """No name has two meanings in one version."""
    facts = dict.fromkeys(Fact, "x")
    assert len(named(facts, version)) == len(
        [f for f in Fact if version != "1.37" or IN_1_37.get(f, f) is not None]
    )


def test_a_version_names_only_its_own_attributes():
    """The conventions of 1.37 have no workflow, and no other name for a task."""
    facts = {Fact.WORKFLOW: "cope", Fact.TASK: "math"}
    assert named(facts, "1.37") == {"cope.task": "math"}
    assert named(facts, "2026-11") == {"gen_ai.workflow.name": "cope", "cope.task": "math"}
