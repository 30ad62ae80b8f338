"""The alerts on quality and tiers: audits that drift, and a tier that is down."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta

from proxy.alerts.wording import local_time
from proxy.audits.drift import drifting
from proxy.config.alerts import DriftAlert, TierDownAlert
from proxy.ledger.alert_rounds import note_outage
from proxy.ledger.alerts import NewAlert, is_raised
from proxy.ledger.audits import Models, agreements, verdicts
from proxy.ledger.windows import window_start
from proxy.service.state import AppState

GAP = timedelta(seconds=30)
"""A tier that was up for less than this time has had one outage and not two."""


async def drifts(state: AppState, alert: DriftAlert, at: datetime) -> list[NewAlert]:
    """Return the task kinds and stages whose audits of this week agree less often than expected."""
    week = window_start("week", at, state.zone)
    window = f"week {week:%Y-%m-%dT%H:%MZ}"
    models = Models(state.small.model, state.settings.large.model)
    expected = state.settings.audit.expect
    new = []
    for counts in await agreements(state.database, week, models):
        task, stage, audits = counts.task, counts.stage, counts.agreed + counts.differed
        subject = f"{task} stage {stage}"
        # The database counts. The audits themselves are only read if there can be drift.
        if not counts.accepted or counts.agreed >= expected * audits:
            continue
        if await is_raised(state.database, alert.name, subject, window):
            continue
        found = await verdicts(state.database, week, models, of=(task, stage))
        drift = await asyncio.to_thread(list, drifting(found, expected))
        if not drift or not drift[-1]:
            continue
        agreed = sum(bool(a.agreed) for a in found)
        new.append(
            NewAlert(
                alert=alert.name,
                kind=alert.on,
                subject=subject,
                window=window,
                title=f"Answers of stage {stage} to {task} tasks drift",
                text=(
                    f"{agreed} of {len(found)} audits of this week agree with the large model, fewer than the expected "
                    f"{100 * expected:g} %: see `cope-proxy audits`."
                ),
                facts={
                    "task": task,
                    "stage": stage,
                    "agreed": agreed,
                    "audits": len(found),
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
