"""Check the conditions of alerts and deliver them, in the background of each process."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from proxy.alerts.conditions import check
from proxy.alerts.delivery import GIVE_UP_AFTER, deliver_forever
from proxy.alerts.targets import open_targets, target_secrets
from proxy.backends.session import open_session
from proxy.concurrency import reap
from proxy.config.alerts import AnyAlert, TierDownAlert
from proxy.ids import now
from proxy.ledger.alert_deliveries import give_up_unknown
from proxy.ledger.alert_rounds import claim_round
from proxy.ledger.alerts import delete_alerts, raise_alerts
from proxy.ledger.database import DatabaseError
from proxy.service.state import AppState

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
TIDY_EVERY_S = 600.0
TIER_EVERY_S = 5.0
BATCH = 50


@asynccontextmanager
async def alerting(state: AppState) -> AsyncIterator[None]:
    """Check and deliver alerts until the context ends. Without `[[alerts]]` there is nothing to do.

    Raises:
        ConfigError: the secret of a target is not set.
    """
    settings = state.settings
    if not settings.alerts:
        yield
        return
    secrets = target_secrets(settings)
    async with open_session(CONNECT_TIMEOUT_S, pooled=False) as session:
        targets = open_targets(settings, session, secrets)
        tasks = [
            *(asyncio.create_task(_check_forever(state, alert)) for alert in settings.alerts),
            *(asyncio.create_task(deliver_forever(state.database, n, t)) for n, t in targets.items()),
            asyncio.create_task(_tidy_forever(state)),
        ]
        try:
            yield
        finally:
            await reap(*tasks)


async def _check_forever(state: AppState, alert: AnyAlert) -> None:
    """Check one alert at its interval. One process makes each check, except that each looks at its own tiers."""
    every = timedelta(seconds=alert.every_s)
    own = isinstance(alert, TierDownAlert)
    pause = min(alert.every_s, TIER_EVERY_S) if own else alert.every_s
    while True:
        try:
            if own or await claim_round(state.database, alert.name, now(), every):
                at = now()
                found = await check(state, alert, at)
                # In small transactions: SQLite lets one process write at a time, and requests wait for it.
                for i in range(0, len(found), BATCH):
                    for id_ in await raise_alerts(state.database, found[i : i + BATCH], alert.targets, at):
                        log.warning("alert %s is raised: %s", alert.name, id_)
        except (OSError, DatabaseError) as e:
            log.warning("the check of alert %s failed (%s)", alert.name, type(e).__name__)
        except Exception:  # a bug in one check must not end the others
            log.exception("the check of alert %s failed", alert.name)
        await asyncio.sleep(pause)


async def _tidy_forever(state: AppState) -> None:
    """Give up deliveries to targets that no process has, and delete old alerts."""
    settings = state.settings
    known = [*settings.webhooks, *settings.mail]
    while True:
        try:
            at = now()
            for target in await give_up_unknown(state.database, known, at - GIVE_UP_AFTER, at):
                log.error("alerts to %s are given up: no proxy has this target in its config", target)
            if settings.ledger.retention_days is not None:
                old = at - timedelta(days=settings.ledger.retention_days)
                await delete_alerts(state.database, old, at)
        except (OSError, DatabaseError) as e:
            log.warning("tidying of alerts failed (%s)", type(e).__name__)
        await asyncio.sleep(TIDY_EVERY_S)
