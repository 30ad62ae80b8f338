"""The tracer: OpenTelemetry's spans from plain ones, and the trace context of calls.

A request's own span begins when the request arrives, because the sampler decides there. All other spans are made from
records after the request has ended, and cost its client nothing. The span id of a call is taken from the call's id, so
a server can be told the id before the span exists.
"""

import logging
import re
import time
from collections.abc import Mapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import (
    SpanKind,
    Status,
    StatusCode,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from proxy import __version__
from proxy.errors import ConfigError
from proxy.tracing.attributes import Semconv, named
from proxy.tracing.delivery import ReportingExporter
from proxy.tracing.spans import (
    OPENING,
    WORKFLOW,
    ModelServer,
    Period,
    Span,
    call_spans,
    failure,
    request_facts,
)
from proxy.tracing.trace import EndedRequest, Headers

_SERVICE: Final = "cope-proxy"
_VALUE = re.compile(r"%[-+ #0-9.]*[a-z]")
"""The place of a value in a message."""


class SpanIds(RandomIdGenerator):
    """Random ids, except for the next span if its id is given. Only the event loop's thread makes spans."""

    next_span: int | None = None

    def generate_span_id(self) -> int:
        """Return the given id once, and random ones otherwise."""
        given, self.next_span = self.next_span, None
        return given or super().generate_span_id()


class OtelTracer:
    """See `proxy.tracing.trace.Tracer`."""

    def __init__(
        self, provider: TracerProvider, ids: SpanIds, semconv: Semconv, servers: Mapping[str, ModelServer]
    ) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(_SERVICE, __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._ids = ids
        self._semconv = semconv
        self._opening = named(OPENING, semconv)
        self._servers = servers

    def begin(self, headers: Headers = ()) -> "OtelTrace":
        """Begin a trace, or a part of the client's trace."""
        now = time.time_ns()
        root = self._tracer.start_span(
            f"invoke_workflow {WORKFLOW}",
            context=self._context(headers),
            kind=SpanKind.SERVER,
            attributes=self._opening,
            start_time=now,
        )
        return OtelTrace(self, root, now)

    def finish(self, root: OtelSpan, ended: EndedRequest, period: Period) -> None:
        """Emit all spans of a request. Those of its calls come first, as for spans that end one after the other."""
        parent = set_span_in_context(root, Context())
        for span in call_spans(ended, period, self._servers):
            self._emit(span, parent)
        root.set_attributes(named(request_facts(ended), self._semconv))
        if (error := failure(ended.record)) is not None:
            root.set_status(Status(StatusCode.ERROR, error))
        root.end(period.end)

    def close(self) -> None:
        """Send the last spans. It blocks until the collector has taken them."""
        self._provider.shutdown()

    def _emit(self, span: Span, parent: Context) -> None:
        self._ids.next_span = None if span.call_id is None else span_id_of(span.call_id)
        made = self._tracer.start_span(
            span.name,
            context=parent,
            kind=SpanKind.INTERNAL if span.call_id is None else SpanKind.CLIENT,
            attributes=named(span.facts, self._semconv),
            start_time=span.start,
        )
        for part in span.parts:
            self._emit(part, set_span_in_context(made, Context()))
        if span.error is not None:
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(span.end)

    def _context(self, headers: Headers) -> Context:
        """Return the client's context. It is empty if there is no `traceparent`, or more than one."""
        parents = [value for name, value in headers if name == b"traceparent"]
        if len(parents) != 1:
            return Context()
        states = [value for name, value in headers if name == b"tracestate"]
        fields = {
            "traceparent": parents[0].decode("latin-1"),
            "tracestate": b",".join(states).decode("latin-1"),  # a list may be sent in several fields
        }
        return self._propagator.extract(fields, Context())


class OtelTrace:
    """See `proxy.tracing.trace.Trace`."""

    def __init__(self, tracer: OtelTracer, root: OtelSpan, start: int) -> None:
        self._tracer = tracer
        self._root = root
        self._start = start
        self._clock = time.monotonic_ns()
        self._calls: dict[str, int] = {}
        context = root.get_span_context()
        self._trace_id = format_trace_id(context.trace_id)
        self._flags = f"{context.trace_flags:02x}"
        self._state = context.trace_state.to_header() if context.trace_state else ""

    def begin_call(self, call_id: str) -> Mapping[str, str]:
        """Return `traceparent` with the span id of the call, and the client's `tracestate`."""
        if self._root.is_recording():
            self._calls[call_id] = self._now()
        headers = {"traceparent": f"00-{self._trace_id}-{format_span_id(span_id_of(call_id))}-{self._flags}"}
        if self._state:
            headers["tracestate"] = self._state
        return headers

    def end(self, ended: EndedRequest) -> None:
        """Emit the spans, unless the sampler has decided otherwise."""
        if self._root.is_recording():
            self._tracer.finish(
                self._root, ended, Period(start=self._start, end=self._now(), calls=self._calls)
            )

    def _now(self) -> int:
        """Return the time by the monotonic clock, so that no span ends before it begins."""
        return self._start + time.monotonic_ns() - self._clock


def span_id_of(call_id: str) -> int:
    """Return the span id of a call: the last 64 bits of its id, of which 48 are random."""
    return int(call_id[-16:], 16) or 1


def open_tracer(semconv: Semconv, servers: Mapping[str, ModelServer]) -> OtelTracer:
    """Start a tracer whose spans are sent from a thread of its own. The standard OTEL_ variables say where and how.

    Raises:
        ConfigError: OpenTelemetry refuses one of its variables.
    """
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # see `proxy.tracing.delivery`
    ids = SpanIds()
    try:
        provider = TracerProvider(resource=_resource(), id_generator=ids, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(ReportingExporter()))
    except (ValueError, OSError, RuntimeError) as e:
        raise ConfigError([f"tracing: OpenTelemetry refuses one of the OTEL_ variables ({e})"]) from e
    return OtelTracer(provider, ids, semconv, servers)


def warnings_about_variables() -> list[str]:
    """Start a tracer and close it. Return OpenTelemetry's warnings about its variables, without their values.

    Raises:
        ConfigError: OpenTelemetry refuses one of its variables.
    """
    found = _Warnings()
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    logger.addHandler(found)
    try:
        logger.setLevel(logging.WARNING)
        TracerProvider(resource=_resource(), shutdown_on_exit=False)
        OTLPSpanExporter()
    finally:
        logger.removeHandler(found)
        logger.propagate = True
    open_tracer("2026-11", {}).close()
    return found.texts


class _Warnings(logging.Handler):
    """Keeps the texts of warnings. A value may be a key, so it becomes an ellipsis."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of one warning."""
        self.texts.append(f"tracing: OpenTelemetry warns: {_VALUE.sub('...', str(record.msg))}")


def _resource() -> Resource:
    """Return the description of this process. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` go before it."""
    given = Resource.create({"service.version": __version__})
    named_by_user = not str(given.attributes.get("service.name")).startswith("unknown_service")
    return given if named_by_user else given.merge(Resource({"service.name": _SERVICE}))
