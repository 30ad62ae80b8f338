"""The alerts on quality and tiers: audits that drift, and a tier that is down."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta

from proxy.alerts.wording import local_time
from proxy.audits.drift import weeks_of_drift
from proxy.config.alerts import DriftAlert, TierDownAlert
from proxy.ledger.alert_rounds import note_outage
from proxy.ledger.alerts import NewAlert
from proxy.ledger.audits import Models, verdicts
from proxy.ledger.windows import window_start
from proxy.service.state import AppState

GAP = timedelta(seconds=30)
"""A tier that was up for less than this time has had one outage and not two."""


async def drifts(state: AppState, alert: DriftAlert, at: datetime) -> list[NewAlert]:
    """Return the task kinds and stages whose audits of this week agree less often than expected."""
    week = window_start("week", at, state.zone)
    models = Models(state.small.model, state.settings.large.model)
    found = await verdicts(state.database, week, models)
    expected = state.settings.audit.expect
    drift = await asyncio.to_thread(weeks_of_drift, found, expected, state.zone)
    new = []
    for (task, stage), started in drift.items():
        audits = [a for a in found if a.accepted and (a.task, a.stage) == (task, stage)]
        agreed = sum(bool(a.agreed) for a in audits)
        new.append(
            NewAlert(
                alert=alert.name,
                kind=alert.on,
                subject=f"{task} stage {stage}",
                window=f"week {started:%Y-%m-%dT%H:%MZ}",
                title=f"Answers of stage {stage} to {task} tasks drift",
                text=(
                    f"{agreed} of {len(audits)} audits of this week agree with the large model, fewer than the expected "
                    f"{100 * expected:g} %: see `cope-proxy audits`."
                ),
                facts={
                    "task": task,
                    "stage": stage,
                    "agreed": agreed,
                    "audits": len(audits),
                    "expected": expected,
                    "small_model": models.small,
                    "large_model": models.large,
                },
            )
        )
    return new


async def tiers_down(state: AppState, alert: TierDownAlert, at: datetime) -> list[NewAlert]:
    """Return the tiers that have been down for long enough. Each process looks at its own connections."""
    new = []
    for tier, words in _down(state, alert):
        since = await note_outage(state.database, tier, at, GAP)
        if at - since < timedelta(seconds=alert.for_s):
            continue
        new.append(
            NewAlert(
                alert=alert.name,
                kind=alert.on,
                subject=tier,
                window=f"since {since:%Y-%m-%dT%H:%M:%S.%fZ}",
                title=f"{words} for {alert.for_s:g} s",
                text=f"It has been down since {local_time(since, state.zone)}.",
                facts={"tier": tier, "down_since": since.isoformat()},
            )
        )
    return new


def _down(state: AppState, alert: TierDownAlert) -> Iterator[tuple[str, str]]:
    """Yield the tiers that are down for this process: the name in the ledger, and a phrase."""
    if "small" in alert.tiers and not state.small.available:
        yield "small", "No server of the small tier has answered"
    if "large" in alert.tiers:
        for name, upstream in state.upstreams.items():
            if upstream.breaker.is_open:
                yield f"large {name or 'large'}", f"The upstream {name or 'large'} has been unavailable"
