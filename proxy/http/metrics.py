"""GET /metrics, for Prometheus."""

from litestar import Response, get
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.core import GaugeMetricFamily

from proxy.ledger.database import DatabaseError
from proxy.ledger.unsettled import unsettled_sum
from proxy.metrics import exposition
from proxy.service.state import AppState


@get("/metrics")
async def metrics(app: AppState) -> Response[bytes]:
    """Return this process's gauges, the unsettled calls of all processes, and the metrics of finished requests."""
    values = [
        ("cope_small_available", "Whether a server of the small tier is healthy", app.small.available),
        ("cope_ledger_backlog_bytes", "Spooled bytes not in the database yet", app.writer.backlog_bytes),
        (
            "cope_ledger_dropped",
            "Records dropped because the spool was full (on_outage = continue)",
            app.writer.dropped,
        ),
        ("cope_ledger_written", "Ledger records written by this process", app.writer.written),
    ]
    upstreams = GaugeMetricFamily(
        "cope_upstream_available",
        "Whether requests go out to an upstream, or its breaker is open",
        labels=["upstream"],
    )
    for name, upstream in app.upstreams.items():
        upstreams.add_metric([name or "large"], float(not upstream.breaker.is_open))
    try:
        unsettled = await unsettled_sum(app.database)
        values += [
            (
                "cope_unsettled_calls",
                "Paid calls whose process died, kept at their worst case",
                unsettled.count,
            ),
            ("cope_unsettled_nano_usd", "Their worst cases in all, in 10^-9 USD", unsettled.amount),
        ]
        database = True
    except (OSError, DatabaseError):
        database = False
    values.append(("cope_database_up", "Whether the database answers", database))
    gauges = [GaugeMetricFamily(name, text, value=float(value)) for name, text, value in values]
    return Response(exposition([upstreams, *gauges]), media_type=CONTENT_TYPE_LATEST)
