"""Health for load balancers, and metrics for Prometheus."""

from litestar import Response, get
from litestar.datastructures import State
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from proxy.ledger.database import DatabaseError, ping
from proxy.ledger.unsettled import unsettled_sum


@get("/health/live", sync_to_thread=False)
def live() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@get("/health/ready")
async def ready(state: State) -> Response[dict[str, object]]:
    """Say whether requests can be served: the database answers, and the small tier does or is not needed."""
    gateway = state.gateway
    try:
        await ping(gateway.database)
        database = True
    except Exception:  # noqa: BLE001  (whatever the driver raises: the database is away)
        database = False
    small = gateway.small.available
    ok = database and (small or gateway.settings.small.on_unavailable == "escalate")
    return Response({"ready": ok, "database": database, "small": small}, status_code=200 if ok else 503)


@get("/metrics")
async def metrics(state: State) -> Response[bytes]:
    """Report this process's gauges, and what all processes have left unsettled."""
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
    registry = CollectorRegistry()
    upstreams = Gauge(
        "cope_upstream_available",
        "Whether requests go out to an upstream, or its breaker is open",
        ["upstream"],
        registry=registry,
    )
    for name, upstream in gateway.upstreams.items():
        upstreams.labels(name or "large").set(not upstream.breaker.is_open)
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
    for name, text, value in values:
        Gauge(name, text, registry=registry).set(float(value))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
