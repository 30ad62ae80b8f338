"""Deliver spans to a collector by OTLP over HTTP, and tell the operator when that does not work.

OpenTelemetry's own messages are not logged: it writes several for each failed attempt, and some quote the headers of
`OTEL_EXPORTER_OTLP_HEADERS`, which may hold a key.
"""

import logging
import time
from collections.abc import Sequence

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = logging.getLogger(__name__)

LOG_EVERY_S = 60.0
"""The shortest time between two messages about the collector."""


class ReportingExporter(SpanExporter):
    """OpenTelemetry's exporter. It logs when the collector stops taking spans, and when it takes them again.

    The thread of the batch processor calls it, so it may wait for the collector.
    """

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.hooks["response"].append(self._note_status)
        self._exporter = OTLPSpanExporter(session=self._session)
        self._status: int | None = None
        self._lost = 0
        self._failing = False
        self._quiet_until = 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans. Those that the collector does not take are lost."""
        self._status = None
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._report_success()
        else:
            self._lost += len(spans)
            self._report_failure()
        return result

    def shutdown(self) -> None:
        """Send nothing more."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _note_status(self, response: requests.Response, *_: object, **__: object) -> None:
        self._status = response.status_code

    def _report_failure(self) -> None:
        self._failing = True
        if time.monotonic() < self._quiet_until:
            return
        self._quiet_until = time.monotonic() + LOG_EVERY_S
        reason = "does not answer" if self._status is None else f"answers {self._status}"
        log.warning("traces: the collector %s; spans lost so far: %d", reason, self._lost)

    def _report_success(self) -> None:
        if self._failing and time.monotonic() >= self._quiet_until:
            self._failing = False
            self._quiet_until = time.monotonic() + LOG_EVERY_S
            log.info("traces: the collector takes spans again; spans lost so far: %d", self._lost)
