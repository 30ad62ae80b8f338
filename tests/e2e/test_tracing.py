"""Traces: the spans of requests, as a real OTLP receiver gets them."""

import json
import re

import pytest

from tests.support.config import UPSTREAM_KEY
from tests.support.otlp_receiver import OtlpReceiver, drawn
from tests.support.processes import ROOT
from tests.support.proxy_process import ProxyProcess
from tests.support.wait import free_port, wait_until

pytestmark = pytest.mark.slow

ON = {"enabled": True}
QUESTION = "What is 6 times 7? Calculate the number."
GOAL = {"match": {"contains": "Say in one short sentence"}, "reply": {"content": "Find the product."}}
UNSURE = {"reply": {"contents": ["\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{4}"]}}
GUIDELINE = {"match": {"contains": "tell another assistant"}, "reply": {"content": "Multiply step by step."}}
CLIENT_TRACE, CLIENT_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-01"
ANSWER = {
    "reply": {"content": "It is \\boxed{42}.", "usage": {"prompt_tokens": 100, "completion_tokens": 20}}
}


@pytest.fixture
def receiver():
    """A collector."""
    with OtlpReceiver() as server:
        yield server


@pytest.fixture
def traced(make_proxy, receiver):
    """Start a proxy that sends its spans to the receiver. The keywords are those of `make_proxy`."""

    def make(env=None, tracing=ON, **changes):
        return make_proxy(env={**receiver.env, **(env or {})}, tracing=tracing, **changes)

    return make


@pytest.fixture(scope="module")
def collector():
    """The collector of the proxy that most tests share."""
    with OtlpReceiver() as server:
        yield server


@pytest.fixture(scope="module")
def shared(collector, small_server, large_server, tmp_path_factory):
    """A proxy that sends its spans to the collector, and that tries each call once."""
    folder, urls = tmp_path_factory.mktemp("proxy"), (small_server.base_url, large_server.base_url)
    with ProxyProcess(folder, *urls, env=collector.env, tracing=ON, large={"max_retries": 0}) as process:
        yield process


def body(**extra):
    return {"model": "cope", "messages": [{"role": "user", "content": QUESTION}], **extra}


def post(proxy, headers=None, path="/v1/chat/completions", **extra):
    """Send a request and return its response. `extra` replaces fields of the usual body."""
    return proxy.http().post(path, json=body(**extra), headers=headers or {})


def trace_of(receiver, response):
    """Return the span of a request, once it has arrived."""
    return receiver.wait_root(response.headers["x-cope-request-id"])


def escalating(small_server, large_server):
    """Make stage 1 and stage 2 unsure, and let the large model answer."""
    small_server.script(GOAL, UNSURE)
    large_server.script(GUIDELINE, ANSWER)


def walk(receiver, span):
    """Yield all spans below one, with their parents."""
    for child in receiver.below(span):
        yield span, child
        yield from walk(receiver, child)


def calls_of(receiver, root):
    """Return the spans of a request's calls."""
    return [span for _, span in walk(receiver, root) if span.kind == "CLIENT"]


def sent_headers(*servers):
    """Return the headers of all requests that the models' servers got."""
    return [entry["headers"] for server in servers for entry in server.chats()]


def test_an_escalated_request_is_a_tree(shared, collector, small_server, large_server):
    """Goals, samples, the guideline and the answer of the large model, each below its stage, with tokens and cost."""
    escalating(small_server, large_server)
    response = post(shared)
    root = trace_of(collector, response)
    tree = drawn(collector, root, ["cope.confidence", "cope.decision"])
    assert re.sub(r"(\n│  [├└]─ (plan|chat) small-model)+", " ...", tree) == (
        "invoke_workflow cope  cope.decision=escalated\n"
        "├─ stage 1  cope.confidence=0.25 ...\n"
        "├─ stage 2  cope.confidence=0.25\n"
        "│  ├─ plan big-model ...\n"
        "└─ chat big-model"
    )
    facts, said = root.attributes, response.json()["cope"]
    assert (root.kind, root.status) == ("SERVER", "UNSET")
    assert facts["gen_ai.operation.name"] == "invoke_workflow"
    assert facts["gen_ai.workflow.name"] == "cope"
    assert (facts["gen_ai.request.model"], facts["gen_ai.response.model"]) == ("cope", "big-model")
    assert (facts["cope.task"], facts["cope.stage"], facts["cope.mode"]) == ("math", 3, "cascade")
    assert (facts["http.route"], facts["http.response.status_code"]) == ("/v1/chat/completions", 200)
    assert facts["cope.cost_usd"] == float(said["cost_usd"])
    assert facts["cope.baseline_usd"] == float(said["baseline_usd"])
    first = collector.below(root)[0]
    assert {span.name for span in collector.below(first)} == {"plan small-model", "chat small-model"}
    assert first.kind == "INTERNAL"
    voting = [span for span in collector.below(first) if "cope.vote.group" in span.attributes]
    assert first.attributes == {
        "cope.stage": 1,
        "cope.samples.planned": 4,
        "cope.samples.drawn": len({s.attributes["cope.vote.group"] for s in voting}),
        "cope.samples.agreed": 1,
        "cope.confidence": 0.25,
        "cope.threshold": 0.75,
        "cope.accepted": False,
    }
    last = collector.below(root)[-1]
    assert last.kind == "CLIENT"
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cost.amount": (100 * 2500 + 20 * 10_000) / 1e9,
        "gen_ai.usage.cost.currency": "USD",
        "gen_ai.response.finish_reasons": ["stop"],
        "server.address": "127.0.0.1",
        "server.port": large_server.port,
    }.items() <= last.attributes.items()


def test_every_call_of_the_ledger_has_one_span(shared, collector, small_server, large_server):
    """With the same cost, and inside its parent's time. The sum of the calls is the cost of the request."""
    escalating(small_server, large_server)
    root = trace_of(collector, post(shared))
    id_ = root.attributes["cope.request_id"]
    rows = wait_until(
        lambda: (
            shared.rows("SELECT id, cost_nano FROM calls WHERE request_id = ? AND tier = 'small'", id_)
            and shared.rows("SELECT id, cost_nano FROM calls WHERE request_id = ?", id_)
        ),
        "the calls",
    )
    seen = {
        s.attributes["cope.call_id"]: s.attributes["cope.cost_nano_usd"] for s in calls_of(collector, root)
    }
    assert seen == {row["id"]: row["cost_nano"] for row in rows}
    assert sum(seen.values()) == root.attributes["cope.cost_nano_usd"] > 0
    for parent, span in walk(collector, root):
        assert parent.start <= span.start <= span.end <= parent.end


def test_votes_are_numbered(shared, collector, small_server):
    """Equal votes have one number. The votes themselves are content, which is not sent."""
    small_server.script(GOAL, {"reply": {"content": "\\boxed{42}"}})
    root = trace_of(collector, post(shared))
    assert root.attributes["cope.decision"] == "accepted"
    samples = [s for s in calls_of(collector, root) if s.name == "chat small-model"]
    assert {s.attributes["cope.vote.group"] for s in samples} == {1}
    assert not any("cope.vote.text" in s.attributes for s in samples)


def test_a_stream(shared, collector, small_server, large_server):
    """It has the time to its first chunk."""
    escalating(small_server, large_server)
    root = trace_of(collector, post(shared, stream=True))
    assert root.attributes["gen_ai.request.stream"] is True
    assert 0 < root.attributes["gen_ai.response.time_to_first_chunk"] <= (root.end - root.start) / 1e9


def test_a_request_that_fails(shared, collector, small_server, large_server):
    """The spans of the request and of the failed call have an error, and say nothing that the upstream said."""
    small_server.script(GOAL, UNSURE)
    error = {"message": f"{UPSTREAM_KEY} is bad, said the prompt", "code": "server_exploded"}
    large_server.script({"reply": {"status": 500, "error": error}})
    response = post(shared)
    assert response.status_code == 500
    root = trace_of(collector, response)
    for span in (root, collector.below(root)[-1]):
        assert (span.status, span.attributes["error.type"]) == ("ERROR", "server_exploded")
    assert root.attributes["cope.decision"] == "failed"
    assert "said the prompt" not in str(collector.spans)
    assert UPSTREAM_KEY not in str(collector.spans)


def test_an_error_of_the_small_model(shared, collector, small_server, large_server):
    """Its server's words may quote the prompt, so they are not sent."""
    small_server.script({"reply": {"status": 400, "error": {"message": "cannot read: my secret prompt"}}})
    large_server.script(ANSWER)
    root = trace_of(collector, post(shared))
    failed = [s for s in calls_of(collector, root) if s.status == "ERROR"]
    assert {s.attributes["error.type"] for s in failed} == {"small_model_failed"}
    assert root.attributes["cope.reason"] == "small model"
    assert "my secret prompt" not in str(collector.spans)


def test_an_error_of_the_client_is_none_of_the_span(shared, collector, small_server, large_server):
    """A request that its budget refuses has an error type, and no error status."""
    escalating(small_server, large_server)
    response = post(shared, headers={"x-cope-budget-usd": "0.000001", "x-cope-on-budget": "fail"})
    root = trace_of(collector, response)
    assert (root.status, root.attributes["http.response.status_code"]) == ("UNSET", 429)
    assert root.attributes["error.type"] == response.json()["error"]["code"]


def test_a_client_that_leaves(shared, collector, small_server, large_server):
    """The spans arrive, with the cost of the call that was cut."""
    small_server.script(GOAL, UNSURE)
    large_server.script(GUIDELINE, {"reply": {"content": "a b c d e f", "stall_after": 3}})
    connection = shared.sent("/v1/chat/completions", body(stream=True))
    wait_until(lambda: any(e["chunks"] == 3 for e in large_server.log()), "the stream to stall")
    connection.close()
    rows = wait_until(lambda: shared.rows("SELECT id FROM requests WHERE status = 499"), "the row")
    root = collector.wait_root(rows[0]["id"])
    assert root.attributes["cope.decision"] == "disconnected"
    assert root.attributes["error.type"] == "client_disconnected"
    last = collector.below(root)[-1]
    assert last.attributes["gen_ai.response.finish_reasons"] == ["disconnected"]
    assert last.attributes["cope.cost_nano_usd"] > 0
    assert last.status == "UNSET"


def test_the_client_is_the_parent_and_its_context_goes_on(shared, collector, small_server, large_server):
    """Both tiers are told the span of their own call, and the client's `tracestate`."""
    escalating(small_server, large_server)
    headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=abc", "baggage": "user=ann"}
    root = trace_of(collector, post(shared, headers=headers))
    assert (root.trace_id, root.parent_id, root.state) == (CLIENT_TRACE, CLIENT_SPAN, "vendor=abc")
    sent = sent_headers(small_server, large_server)
    told = {f"00-{CLIENT_TRACE}-{call.span_id}-01" for call in calls_of(collector, root)}
    assert {h["traceparent"] for h in sent} == told
    assert {h["tracestate"] for h in sent} == {"vendor=abc"}
    assert not any("baggage" in h for h in sent)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", "nonsense")],
        [("traceparent", f"00-{'0' * 32}-{CLIENT_SPAN}-01")],
        [("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)],
        [("traceparent", "\xff" + TRACEPARENT)],
        [("tracestate", "vendor=abc")],
        [("traceparent", TRACEPARENT + "x" * 10_000)],
    ],
)
def test_without_a_usable_context_a_trace_begins(shared, collector, small_server, large_server, headers):
    """A context that cannot be read is ignored, and is not passed on."""
    large_server.script(ANSWER)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    root = trace_of(collector, post(shared, headers=raw, model="direct/big-model"))
    assert root.parent_id == ""
    assert root.trace_id != CLIENT_TRACE
    (sent,) = sent_headers(large_server)
    assert sent["traceparent"][3:35] == root.trace_id
    assert "tracestate" not in sent


def test_a_bad_tracestate_is_dropped(shared, collector, large_server):
    """The rest of the context holds."""
    large_server.script(ANSWER)
    headers = {"traceparent": TRACEPARENT, "tracestate": "no list," * 1000}
    root = trace_of(collector, post(shared, headers=headers, model="direct/big-model"))
    assert (root.trace_id, root.state) == (CLIENT_TRACE, "")


def test_off_by_default(proxy, small_server, large_server):
    """Nothing is sent to the models' servers, not even the client's own context."""
    escalating(small_server, large_server)
    post(proxy, headers={"traceparent": TRACEPARENT, "tracestate": "vendor=abc"}).raise_for_status()
    sent = sent_headers(small_server, large_server)
    assert len(sent) > 4
    assert not any({"traceparent", "tracestate"} & set(h) for h in sent)


def test_sampling(traced, receiver, small_server, large_server):
    """The standard variables decide. A request that is not sampled still passes its context on."""
    large_server.script(ANSWER)
    proxy = traced(env={"OTEL_TRACES_SAMPLER": "parentbased_always_off"})
    post(proxy, model="direct/big-model")
    (sent,) = sent_headers(large_server)
    assert int(sent["traceparent"][-2:], 16) % 2 == 0
    root = trace_of(receiver, post(proxy, headers={"traceparent": TRACEPARENT}, model="direct/big-model"))
    assert root.trace_id == CLIENT_TRACE
    assert len(receiver.roots()) == 1


def test_content_is_not_sent(shared, collector, small_server, large_server):
    """No word of the prompt, of a plan or of an answer is in a span."""
    escalating(small_server, large_server)
    trace_of(collector, post(shared))
    text = str(collector.spans)
    assert not any(word in text for word in ("6 times 7", "product", "step by step", "boxed"))


def test_content_is_sent_if_it_is_stored(traced, receiver, small_server, large_server):
    """In the form of the conventions, and of bounded length."""
    escalating(small_server, large_server)
    proxy = traced(ledger={"store_content": True})
    long = [{"role": "system", "content": "x" * 100_000}, {"role": "user", "content": QUESTION}]
    root = trace_of(receiver, post(proxy, messages=long))
    shown = json.loads(root.attributes["gen_ai.input.messages"])
    assert shown[-1] == {"role": "user", "parts": [{"type": "text", "content": QUESTION}]}
    assert shown[0]["role"] == "system"
    assert len(root.attributes["gen_ai.input.messages"]) < 10_000
    answer = json.loads(root.attributes["gen_ai.output.messages"])
    assert answer == [{"role": "assistant", "parts": [{"type": "text", "content": "It is \\boxed{42}."}]}]
    spans = [s for _, s in walk(receiver, root)]
    plans = {s.attributes.get("cope.plan.text") for s in spans if s.name.startswith("plan")}
    assert plans - {None} == {"Find the product.", "Multiply step by step."}  # None: a goal that was cut
    assert {"1", "2"} <= {s.attributes.get("cope.vote.text") for s in spans}


@pytest.mark.parametrize(
    ("path", "sent", "operation"),
    [
        ("/v1/embeddings", {"model": "big-model", "input": "a"}, "embeddings"),
        ("/v1/completions", {"model": "big-model", "prompt": "a"}, "text_completion"),
        ("/v1/responses", {"model": "direct/big-model", "input": "a"}, "chat"),
    ],
)
def test_other_endpoints(shared, collector, large_server, path, sent, operation):
    """Each has its operation."""
    response = shared.http().post(path, json=sent)
    response.raise_for_status()
    root = trace_of(collector, response)
    (call,) = collector.below(root)
    assert (root.attributes["http.route"], root.attributes["cope.decision"]) == (path, "direct")
    assert (call.name, call.attributes["gen_ai.operation.name"]) == (f"{operation} big-model", operation)


def test_the_process_is_described(shared, collector, large_server):
    """By its name, its version and its instance."""
    large_server.script(ANSWER)
    resource = trace_of(collector, post(shared, model="direct/big-model")).resource
    assert resource["service.name"] == "cope-proxy"
    assert {"service.version", "service.instance.id"} <= set(resource)


def test_the_standard_variables(traced, receiver, large_server):
    """They name the service and compress, and their headers are sent. `semconv` names the version of the conventions."""
    large_server.script(ANSWER)
    env = {
        "OTEL_SERVICE_NAME": "gateway",
        "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=a",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=abc",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "5",
    }
    proxy = traced(env=env, tracing={**ON, "semconv": "1.37"})
    post(proxy, model="direct/big-model").raise_for_status()
    (root,) = wait_until(receiver.roots, "the trace")
    assert root.resource["service.name"] == "gateway"
    assert root.resource["service.instance.id"] == "a"
    assert receiver.requests[0]["content-encoding"] == "gzip"
    assert receiver.requests[0]["x-key"] == "abc"
    assert root.attributes["cope.mode"] == "large"
    assert root.attributes["gen_ai.response.model"] == "big-m"
    (call,) = receiver.below(root)
    assert call.attributes["gen_ai.usage.input_tokens"] == 100
    assert not {"gen_ai.usage.cost.amount", "gen_ai.workflow.name"} & {*call.attributes, *root.attributes}


def test_two_workers(traced, receiver, large_server):
    """Each request arrives once, whichever worker has answered it."""
    large_server.script(ANSWER)
    proxy = traced(server={"workers": 2})
    responses = [post(proxy, model="direct/big-model") for _ in range(12)]
    roots = [trace_of(receiver, response) for response in responses]
    assert len({root.trace_id for root in roots}) == len(receiver.roots()) == 12
    assert [len(receiver.below(root)) for root in roots] == [1] * 12


def test_an_audit_is_traced(traced, receiver, small_server, large_server):
    """As a request of its own, with its cost."""
    small_server.script(GOAL, {"reply": {"content": "\\boxed{42}"}})
    large_server.script(ANSWER)
    proxy = traced(audit={"share": 1.0})
    response = post(proxy)
    audit = wait_until(
        lambda: [root for root in receiver.roots() if root.attributes["cope.mode"] == "audit"], "the audit"
    )[0]
    assert audit.attributes["cope.cost_nano_usd"] > 0
    assert audit.trace_id != trace_of(receiver, response).trace_id
    assert [span.name for span in receiver.below(audit)] == ["chat big-model"]


def test_the_last_spans_are_sent_before_the_end(traced, receiver, large_server):
    """A proxy that is stopped sends what it has."""
    large_server.script(ANSWER)
    proxy = traced(env={"OTEL_BSP_SCHEDULE_DELAY": "60000"})
    post(proxy, model="direct/big-model")
    assert receiver.roots() == []
    proxy.stop()
    assert len(receiver.roots()) == 1


def test_a_collector_that_is_away(traced, large_server):
    """Requests are answered, and the log has one line. Variables that are ignored are named. No line has a value."""
    large_server.script(ANSWER)
    away = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer collector-secret,broken header",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.5",
        "OTEL_TRACES_SAMPLER": "collector-secret",
    }
    proxy = traced(env=away)
    post(proxy, model="direct/big-model").raise_for_status()
    wait_until(lambda: "traces: the collector does not answer" in proxy.output(), "the warning")
    for _ in range(20):
        post(proxy, model="direct/big-model").raise_for_status()
    proxy.stop()
    assert proxy.output().count("traces:") == 1
    assert "tracing: OpenTelemetry warns: Header format invalid!" in proxy.output()
    assert "tracing: OpenTelemetry warns: Couldn't recognize sampler" in proxy.output()
    assert not any(word in proxy.output() for word in ("opentelemetry", "collector-secret", "Traceback"))


@pytest.mark.parametrize("status", [401, 503])
def test_a_collector_that_refuses(traced, receiver, large_server, status):
    """Requests are answered, and the log says what the collector answers."""
    receiver.status = status
    large_server.script(ANSWER)
    proxy = traced(env={"OTEL_EXPORTER_OTLP_TIMEOUT": "0.5"})
    post(proxy, model="direct/big-model").raise_for_status()
    wait_until(lambda: f"traces: the collector answers {status}" in proxy.output(), "the warning")
    post(proxy, model="direct/big-model").raise_for_status()
    proxy.stop()
    assert proxy.output().count("traces:") == 1
    assert not any(word in proxy.output() for word in ("opentelemetry", "Traceback"))


def test_a_collector_that_is_slow(traced, receiver, large_server):
    """Requests do not wait for it, and the queue keeps a fixed number of spans. The rest is dropped silently."""
    receiver.go_on.clear()
    large_server.script(ANSWER)
    limits = {"OTEL_BSP_MAX_QUEUE_SIZE": "16", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8"}
    proxy = traced(env=limits | {"OTEL_EXPORTER_OTLP_TIMEOUT": "600"})
    post(proxy, model="direct/big-model").raise_for_status()
    wait_until(lambda: receiver.requests, "the collector to be asked")
    for _ in range(30):
        post(proxy, model="direct/big-model").raise_for_status()
    assert receiver.spans == []
    receiver.go_on.set()
    proxy.stop()
    assert 16 <= len(receiver.spans) <= 8 + 16  # the batch under way, and the queue
    assert not any(word in proxy.output() for word in ("opentelemetry", "dropping", "traces:"))


def test_a_hanging_collector_does_not_hold_up_the_end(traced, receiver, large_server):
    """A proxy that is stopped waits some seconds for its collector at most."""
    receiver.go_on.clear()
    large_server.script(ANSWER)
    proxy = traced(env={"OTEL_EXPORTER_OTLP_TIMEOUT": "600"})
    post(proxy, model="direct/big-model").raise_for_status()
    wait_until(lambda: receiver.requests, "the collector to be asked")
    proxy.stop()
    assert receiver.spans == []


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "user:secret@box:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT: it is not a URL",
        ),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' is not supported"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "OTEL_TRACES_EXPORTER: 'console' is not supported"),
        (
            {"OTEL_BSP_MAX_QUEUE_SIZE": "0"},
            "tracing: OpenTelemetry refuses one of the OTEL_ variables (max_queue_size",
        ),
    ],
)
def test_variables_that_cannot_work(traced, env, problem):
    """The proxy does not start, and says why in one line."""
    with pytest.raises(RuntimeError, match=re.escape(problem)) as e:
        traced(env=env)
    assert "secret" not in str(e.value)
    assert "Traceback" not in str(e.value)


def test_the_sdk_can_be_disabled(traced, receiver, small_server):
    """By its standard variable."""
    small_server.script({"reply": {"content": "\\boxed{42}"}})
    proxy = traced(env={"OTEL_SDK_DISABLED": "true"})
    post(proxy).raise_for_status()
    proxy.stop()
    assert receiver.requests == []
    assert not any("traceparent" in e["headers"] for e in small_server.chats())


def test_without_the_extra(traced, tmp_path):
    """The proxy does not start, and names the command that helps."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()  # hides the installed packages
    with pytest.raises(RuntimeError, match=r"tracing.enabled: .*pip install 'cope-proxy\[otel\]'"):
        traced(env={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
