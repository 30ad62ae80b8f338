"""GET /health/*, for load balancers."""

from litestar import Response, get

from proxy.ledger.database import ping
from proxy.service.state import AppState


@get("/health/live", sync_to_thread=False)
def live() -> dict[str, str]:
    """Report that the process answers."""
    return {"status": "ok"}


@get("/health/ready")
async def ready(app: AppState) -> Response[dict[str, object]]:
    """Report whether requests can be served: the database answers, and the small tier answers or is not required."""
    try:
        await ping(app.database)
        database = True
    except Exception:  # noqa: BLE001  (the driver may raise anything: the database is unavailable)
        database = False
    small = app.small.available
    ok = database and (small or app.settings.small.on_unavailable == "escalate")
    return Response({"ready": ok, "database": database, "small": small}, status_code=200 if ok else 503)
