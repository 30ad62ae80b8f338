"""GET /metrics, for Prometheus."""

from litestar import Response, get
from litestar.datastructures import State
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.core import GaugeMetricFamily

from proxy.ledger.database import DatabaseError
from proxy.ledger.unsettled import unsettled_sum
from proxy.metrics import exposition


@get("/metrics")
async def metrics(state: State) -> Response[bytes]:
    """Return this process's gauges, the unsettled calls of all processes, and the metrics of finished requests."""
    gateway = state.gateway
    values = [
        ("cope_small_available", "Whether a server of the small tier is healthy", gateway.small.available),
        ("cope_ledger_backlog_bytes", "Spooled bytes not in the database yet", gateway.writer.backlog_bytes),
        (
            "cope_ledger_dropped",
            "Records lost because the spool was full (on_outage = continue)",
            gateway.writer.dropped,
        ),
        ("cope_ledger_written", "Ledger records written by this process", gateway.writer.written),
    ]
    upstreams = GaugeMetricFamily(
        "cope_upstream_available",
        "Whether requests go out to an upstream, or its breaker is open",
        labels=["upstream"],
    )
    for name, upstream in gateway.upstreams.items():
        upstreams.add_metric([name or "large"], float(not upstream.breaker.is_open))
    try:
        lost = await unsettled_sum(gateway.database)
        values += [
            ("cope_unsettled_calls", "Paid calls whose process died, kept at their worst case", lost.count),
            ("cope_unsettled_nano_usd", "Their worst cases in all, in 10^-9 USD", lost.amount),
        ]
        database = True
    except (OSError, DatabaseError):
        database = False
    values.append(("cope_database_up", "Whether the database answers", database))
    gauges = [GaugeMetricFamily(name, text, value=float(value)) for name, text, value in values]
    return Response(exposition([upstreams, *gauges]), media_type=CONTENT_TYPE_LATEST)
