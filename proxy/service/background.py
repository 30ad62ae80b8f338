"""What runs beside the requests: recovery and pruning."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from proxy.ids import now
from proxy.ledger import audits
from proxy.ledger.journal import abandoned
from proxy.ledger.kept_responses import delete_responses
from proxy.ledger.orphans import close_orphaned_requests
from proxy.ledger.retention import drop_content, prune
from proxy.ledger.unsettled import mark_expired, mark_orphaned
from proxy.ledger.writer import replay
from proxy.service.state import AppState

log = logging.getLogger(__name__)


RECOVER_EVERY_S = 5.0


PRUNE_EVERY_S = 3600.0


@asynccontextmanager
async def in_background(state: AppState) -> AsyncIterator[None]:
    """Recover and prune the ledger from time to time, beside the requests."""
    tasks = [asyncio.create_task(_recover(state)), asyncio.create_task(_prune(state))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _recover(state: AppState) -> None:
    """Take over what dead processes have left: their journals, their reservations, their requests, for ever."""
    ledger = state.settings.ledger
    since = now() - timedelta(days=1)
    while True:
        try:
            for journal in abandoned(Path(ledger.spool_dir), max_bytes=ledger.spool_max_bytes):
                try:
                    count = await replay(state.database, journal, state.zone)
                    lost = await mark_orphaned(state.database, journal.process_id)
                finally:
                    journal.close()
                log.warning(
                    "took over from %s: %d records, %d unsettled calls", journal.process_id, count, lost
                )
            await mark_expired(state.database, now())
            over = now() - timedelta(seconds=state.settings.server.request_timeout_s)
            await close_orphaned_requests(state.database, since, over, state.zone)
            since = over - timedelta(minutes=10)
        except Exception as e:  # noqa: BLE001  (the database may be away; the next round tries again)
            log.warning("recovery of the ledger failed (%s: %.200s)", type(e).__name__, e)
        await asyncio.sleep(RECOVER_EVERY_S)


async def _prune(state: AppState) -> None:
    """Drop what is past its retention, for ever."""
    ledger = state.settings.ledger
    while True:
        try:
            if ledger.content_retention_days is not None:
                await drop_content(state.database, now() - timedelta(days=ledger.content_retention_days))
            await delete_responses(state.database, now() - timedelta(hours=ledger.responses_retention_hours))
            if ledger.retention_days is not None:
                old = now() - timedelta(days=ledger.retention_days)
                await prune(state.database, old)
                await audits.delete_audits(state.database, old)
        except Exception as e:  # noqa: BLE001  (likewise)
            log.warning("pruning of the ledger failed (%s: %.200s)", type(e).__name__, e)
        await asyncio.sleep(PRUNE_EVERY_S)
