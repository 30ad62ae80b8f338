"""GET /metrics, for Prometheus."""

import asyncio
from collections.abc import Iterator

from litestar import Response, get
from prometheus_client import CONTENT_TYPE_LATEST, Metric, generate_latest
from prometheus_client.registry import Collector

from proxy.http.guards import may_scrape
from proxy.http.ledger_metrics import Figures, LedgerFigures, families
from proxy.metrics import collect
from proxy.service.health import note_health
from proxy.service.state import AppState


@get("/metrics", guards=[may_scrape])
async def metrics(app: AppState, ledger: LedgerFigures) -> Response[bytes]:
    """Return the totals of the ledger, and the metrics of all workers of this machine."""
    note_health(app)
    figures = await ledger.now()
    # In a thread: with several workers it reads the files of all of them.
    text = await asyncio.to_thread(generate_latest, _Everything(figures))
    return Response(text, media_type=CONTENT_TYPE_LATEST)


class _Everything(Collector):
    def __init__(self, figures: Figures | None) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; see `prometheus_client.registry.Collector`."""
        yield from families(self._figures)
        yield from collect()
