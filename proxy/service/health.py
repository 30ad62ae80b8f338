"""The health of this process as gauges.

Any worker may answer a scrape for all of them. So each one notes its health all the time.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy import metrics
from proxy.concurrency import reap
from proxy.service.state import AppState

NOTE_EVERY_S = 1.0


def note_health(state: AppState) -> None:
    """Set the gauges of the small tier, the upstreams and the ledger's backlog."""
    metrics.SMALL_AVAILABLE.set(state.small.available)
    for name, upstream in state.upstreams.items():
        metrics.UPSTREAM_AVAILABLE.labels(name or "large").set(not upstream.breaker.is_open)
    metrics.LEDGER_BACKLOG.set(state.writer.backlog_bytes)


@asynccontextmanager
async def health_noted(state: AppState) -> AsyncIterator[None]:
    """Note the health at regular intervals until the context ends."""
    task = asyncio.create_task(_note_forever(state))
    try:
        yield
    finally:
        await reap(task)


async def _note_forever(state: AppState) -> None:
    while True:
        note_health(state)
        await asyncio.sleep(NOTE_EVERY_S)
