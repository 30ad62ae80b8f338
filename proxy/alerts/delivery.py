"""Deliver alerts: lease what is due for a target, send it, and store the result."""

import asyncio
import logging
from datetime import datetime, timedelta

from proxy.alerts.targets.target import DeliveryError, Target
from proxy.concurrency import reap
from proxy.ids import now
from proxy.ledger.alert_deliveries import Lease, lease_deliveries, store_delivered, store_failure
from proxy.ledger.database import Database

log = logging.getLogger(__name__)

POLL_S = 2.0
AT_ONCE = 4
FIRST_RETRY_S, LAST_RETRY_S = 5.0, 900.0
GIVE_UP_AFTER = timedelta(hours=24)
_LEASE_MARGIN_S = 10.0


async def deliver_forever(database: Database, name: str, target: Target) -> None:
    """Deliver the alerts of one target as they become due. Targets do not wait for each other."""
    lease = timedelta(seconds=target.longest_s + _LEASE_MARGIN_S)
    while True:
        try:
            due = await lease_deliveries(database, name, now(), lease, AT_ONCE)
            attempts = [asyncio.create_task(_attempt(database, target, leased)) for leased in due]
            try:
                await asyncio.gather(*attempts)
            finally:
                await reap(*attempts)
        except Exception as e:  # noqa: BLE001  (the database may be unavailable; the lease ends, and then it goes on)
            log.warning("delivery of alerts to %s failed (%s)", name, type(e).__name__)
            due = []
        if not due:
            await asyncio.sleep(POLL_S)


async def _attempt(database: Database, target: Target, leased: Lease) -> None:
    id_, name = leased.message.id, leased.target
    reason = await _send(target, leased)
    at = now()
    if reason is None:
        await store_delivered(database, leased, at)
        log.info("alert %s was delivered to %s", id_, name)
        return
    retry_at = next_attempt(leased.message.created_at, leased.attempts, at)
    await store_failure(database, leased, reason, retry_at=retry_at, at=at)
    if retry_at is None:
        log.error("alert %s was not delivered to %s and is given up: %s", id_, name, reason)
    else:
        wait = (retry_at - at).total_seconds()
        log.warning("alert %s was not delivered to %s: %s; next attempt in %.0f s", id_, name, reason, wait)


async def _send(target: Target, leased: Lease) -> str | None:
    """Send once. Return the reason if it has failed."""
    try:
        await target.send(leased.message)
    except DeliveryError as e:
        return e.reason
    except Exception as e:  # noqa: BLE001  (an error that nobody expected is retried and given up like the others)
        return f"the attempt failed ({type(e).__name__})"
    return None


def next_attempt(created_at: datetime, attempts: int, at: datetime) -> datetime | None:
    """Return the time of the next attempt after a failure, or `None` if the delivery is given up.

    The pauses double from 5 s to 15 minutes. The last attempt begins 24 hours after the alert was raised.
    """
    last = created_at + GIVE_UP_AFTER
    if at >= last:
        return None
    pause = min(FIRST_RETRY_S * 2 ** min(attempts - 1, 20), LAST_RETRY_S)
    return min(at + timedelta(seconds=pause), last)
