"""Recover, prune and export the ledger in the background."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event

from proxy.concurrency import reap
from proxy.exports.daily import export_days
from proxy.exports.focus import StoppedError
from proxy.ids import now
from proxy.ledger import audits
from proxy.ledger.adoption import adopt
from proxy.ledger.database import described
from proxy.ledger.journal import abandoned
from proxy.ledger.kept_responses import delete_responses
from proxy.ledger.orphans import close_orphaned_requests
from proxy.ledger.owned_objects import delete_objects
from proxy.ledger.rate_limits import delete_past_minutes
from proxy.ledger.retention import drop_content, prune
from proxy.ledger.stored_completions import delete_completions
from proxy.ledger.unsettled import mark_expired
from proxy.service.state import AppState

log = logging.getLogger(__name__)

RECOVER_EVERY_S = 5.0
PRUNE_EVERY_S = 3600.0
EXPORT_EVERY_S = 300.0
OWNERS_KEPT = timedelta(days=30)
"""How long it is known which key owns an object of the upstream. OpenAI keeps responses as long."""


@asynccontextmanager
async def in_background(state: AppState) -> AsyncIterator[None]:
    """Recover, prune and export the ledger at regular intervals until the context ends."""
    stop = Event()
    tasks = [asyncio.create_task(_recover_forever(state)), asyncio.create_task(_prune_forever(state))]
    if state.settings.exports.folder is not None:
        tasks.append(asyncio.create_task(_export_forever(state, stop)))
    try:
        yield
    finally:
        stop.set()
        await reap(*tasks)


async def _recover_forever(state: AppState) -> None:
    """Take over the journals, reservations and requests of processes that have died."""
    ledger = state.settings.ledger
    since = now() - timedelta(days=1)
    while True:
        try:
            for journal in abandoned(Path(ledger.spool_dir), max_bytes=ledger.spool_max_bytes):
                adopted = None
                try:
                    adopted = await adopt(state.database, journal, state.zone)
                finally:
                    journal.close(keep=adopted is None)
                log.warning(
                    "took over from %s: %d records, %d unsettled calls",
                    journal.process_id,
                    adopted.records,
                    adopted.unsettled,
                )
            await mark_expired(state.database, now())
            over = now() - timedelta(seconds=state.settings.server.request_timeout_s)
            await close_orphaned_requests(state.database, since, over, state.zone)
            since = over - timedelta(minutes=10)
        except Exception as e:  # noqa: BLE001  (the database may be unavailable; the next round tries again)
            log.warning("recovery of the ledger failed (%s)", described(e))
        await asyncio.sleep(RECOVER_EVERY_S)


async def _prune_forever(state: AppState) -> None:
    """Delete data that is past its retention time."""
    ledger = state.settings.ledger
    while True:
        try:
            if ledger.content_retention_days is not None:
                await drop_content(state.database, now() - timedelta(days=ledger.content_retention_days))
            unowned = now() - OWNERS_KEPT
            local = now() - timedelta(hours=ledger.responses_retention_hours)
            await delete_responses(state.database, local_before=local, before=min(local, unowned))
            await delete_completions(state.database, local_before=local, before=min(local, unowned))
            await delete_objects(state.database, unowned)
            await delete_past_minutes(state.database, now())
            if ledger.retention_days is not None:
                old = now() - timedelta(days=ledger.retention_days)
                await prune(state.database, old)
                await audits.delete_audits(state.database, old)
        except Exception as e:  # noqa: BLE001  (the next round tries again)
            log.warning("pruning of the ledger failed (%s)", described(e))
        await asyncio.sleep(PRUNE_EVERY_S)


async def _export_forever(state: AppState, stop: Event) -> None:
    """Write the daily export files. A day may have a million calls, so a thread reads them."""
    while True:
        try:
            await asyncio.to_thread(export_days, state.settings, now(), stop)
        except StoppedError:
            return
        except Exception as e:  # noqa: BLE001  (the next round tries again)
            log.warning("the daily export failed (%s: %.200s)", type(e).__name__, e)
        await asyncio.sleep(EXPORT_EVERY_S)
