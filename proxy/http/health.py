"""Health for load balancers, and metrics for Prometheus."""

from litestar import Response, get
from litestar.datastructures import State
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CollectorRegistry, GaugeMetricFamily

from proxy.ledger.database import ping


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


@get("/metrics", sync_to_thread=False)
def metrics(state: State) -> Response[bytes]:
    """Report this process's gauges."""
    gateway = state.gateway
    registry = CollectorRegistry()
    registry.register(_Gauges(gateway.small.available, gateway.writer.backlog, gateway.writer.written))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Gauges:
    def __init__(self, small: bool, backlog: int, written: int) -> None:
        self._values = {
            "cope_small_available": ("Whether a server of the small tier is healthy", float(small)),
            "cope_ledger_backlog": ("Ledger records not yet on disk", float(backlog)),
            "cope_ledger_written": ("Ledger records written by this process", float(written)),
        }

    def collect(self) -> list[GaugeMetricFamily]:
        return [GaugeMetricFamily(name, doc, value) for name, (doc, value) in self._values.items()]
