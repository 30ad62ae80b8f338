"""Health for load balancers, and metrics for Prometheus."""

from litestar import Response, get
from litestar.datastructures import State

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
