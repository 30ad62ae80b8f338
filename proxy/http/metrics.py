"""GET /metrics, for Prometheus."""

from litestar import Response, get
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from proxy.ledger.database import DatabaseError
from proxy.ledger.unsettled import unsettled_sum
from proxy.service.state import AppState


@get("/metrics")
async def metrics(app: AppState) -> Response[bytes]:
    """Report this process's gauges, and the unsettled calls of all processes."""
    values = [
        ("cope_small_available", "Whether a server of the small tier is healthy", app.small.available),
        ("cope_ledger_backlog_bytes", "Spooled bytes not in the database yet", app.writer.backlog_bytes),
        (
            "cope_ledger_dropped",
            "Records lost because the spool was full (on_outage = continue)",
            app.writer.dropped,
        ),
        ("cope_ledger_written", "Ledger records written by this process", app.writer.written),
    ]
    registry = CollectorRegistry()
    upstreams = Gauge(
        "cope_upstream_available",
        "Whether requests go out to an upstream, or its breaker is open",
        ["upstream"],
        registry=registry,
    )
    for name, upstream in app.upstreams.items():
        upstreams.labels(name or "large").set(not upstream.breaker.is_open)
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
    for name, text, value in values:
        Gauge(name, text, registry=registry).set(float(value))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
