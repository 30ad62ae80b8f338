"""An OTLP receiver: what a collector does with traces, over a real socket."""

import gzip
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.support.wait import LOCALHOST, wait_until

KINDS = trace_pb2.Span.SpanKind
STATUSES = trace_pb2.Status.StatusCode


@dataclass(frozen=True, kw_only=True)
class ReceivedSpan:
    """One span as it arrived. Ids are hex digits, and times are nanoseconds since 1970."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    kind: str
    status: str
    message: str
    start: int
    end: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


class OtlpReceiver:
    """A collector that keeps what it receives, and that can be slow, refuse, or be away."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.requests: list[dict[str, str]] = []
        """The headers of each request, with names in lower case."""
        self.status = 200
        self.go_on = threading.Event()
        """Clear it, and requests wait for their answer."""
        self.go_on.set()
        self.port = 0
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                receiver.requests.append({k.lower(): v for k, v in self.headers.items()})
                receiver.go_on.wait()
                if receiver.status == 200 and self.path == "/v1/traces":
                    if self.headers.get("content-encoding") == "gzip":
                        raw = gzip.decompress(raw)
                    receiver.spans += spans_of(ExportTraceServiceRequest.FromString(raw))
                answer = ExportTraceServiceResponse().SerializeToString()
                with suppress(OSError):  # the proxy has given up
                    self.send_response(receiver.status)
                    self.send_header("content-type", "application/x-protobuf")
                    self.send_header("content-length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((LOCALHOST, self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def env(self) -> dict[str, str]:
        """The variables of a proxy that sends its spans here at once."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{LOCALHOST}:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def roots(self) -> list[ReceivedSpan]:
        """Return the spans of requests, in order of arrival."""
        return [span for span in self.spans if span.name == "invoke_workflow cope"]

    def wait_root(self, request_id: str) -> ReceivedSpan:
        """Block until the span of a request has arrived, and return it. Those of its calls came before it."""
        found = wait_until(
            lambda: [span for span in self.roots() if span.attributes["cope.request_id"] == request_id],
            f"the trace of {request_id}",
        )
        (root,) = found
        return root

    def below(self, parent: ReceivedSpan) -> list[ReceivedSpan]:
        """Return the direct children of a span, in order of their start."""
        found = [s for s in self.spans if (s.trace_id, s.parent_id) == (parent.trace_id, parent.span_id)]
        return sorted(found, key=lambda span: (span.start, span.attributes.get("cope.sample", -1), span.end))


def drawn(receiver: OtlpReceiver, root: ReceivedSpan, shown: Iterable[str] = ()) -> str:
    """Return the tree of a request as text. Of each span, its name and some of its attributes are shown."""
    shown = tuple(shown)

    def line(span: ReceivedSpan) -> str:
        facts = (f"{name}={span.attributes[name]}" for name in shown if name in span.attributes)
        return "  ".join((span.name, *facts))

    def below(parent: ReceivedSpan, indent: str) -> list[str]:
        lines = []
        children = receiver.below(parent)
        for i, child in enumerate(children):
            last = i == len(children) - 1
            lines.append(f"{indent}{'└─' if last else '├─'} {line(child)}")
            lines += below(child, indent + ("   " if last else "│  "))
        return lines

    return "\n".join((line(root), *below(root, "")))


def spans_of(message: ExportTraceServiceRequest) -> list[ReceivedSpan]:
    """Return the spans of an export request."""
    return [
        ReceivedSpan(
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            state=span.trace_state,
            kind=KINDS.Name(span.kind).removeprefix("SPAN_KIND_"),
            status=STATUSES.Name(span.status.code).removeprefix("STATUS_CODE_"),
            message=span.status.message,
            start=span.start_time_unix_nano,
            end=span.end_time_unix_nano,
            attributes={a.key: value_of(a.value) for a in span.attributes},
            resource={a.key: value_of(a.value) for a in resource.resource.attributes},
        )
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def value_of(value: AnyValue) -> Any:
    """Return the value of an attribute."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(v) for v in value.array_value.values]
    return None if kind is None else getattr(value, kind)
