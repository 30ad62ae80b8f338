"""The alerts on money: a spike of today's spend, and money of calls that nobody has settled."""

from datetime import datetime, timedelta
from typing import Any

from proxy.alerts.wording import shown
from proxy.config.alerts import SpikeAlert, UnsettledAlert
from proxy.ledger.alerts import NewAlert
from proxy.ledger.daily_spend import highest_keys, spend_of_days, spend_of_keys
from proxy.ledger.keys import key_names
from proxy.ledger.rollups import local_day
from proxy.ledger.unsettled import unsettled_sum
from proxy.pricing.money import format_usd, usd_to_nano
from proxy.service.state import AppState
from proxy.stats.spike import spike

MOST_KEYS = 500
"""The most keys of one check: those that spent most today."""


async def spikes(state: AppState, alert: SpikeAlert, at: datetime) -> list[NewAlert]:
    """Return the spikes of today's spend."""
    today = local_day(at, state.zone)
    date = at.astimezone(state.zone).date()
    first, last = (str(date - timedelta(days=days)) for days in (alert.days, 1))
    least = usd_to_nano(alert.least_usd)
    if alert.per == "total":
        spent = {"": (await spend_of_days(state.database, today, today)).get(today, 0)}
        # The days before have more rows than today, so they are only read if there can be a spike.
        earlier = {}
        if spent[""] >= max(1, least):
            earlier = {"": list((await spend_of_days(state.database, first, last)).values())}
        names: dict[str, str] = {}
    else:
        spent = await highest_keys(state.database, today, least=max(1, least), most=MOST_KEYS)
        earlier = await spend_of_keys(state.database, spent, first, last)
        names = await key_names(state.database, spent)
    new = []
    for key, amount in spent.items():
        median = spike(
            amount,
            earlier.get(key, []),
            factor_milli=round(1000 * alert.factor),
            least_days=alert.least_days,
            least=least,
        )
        if median is not None:
            new.append(_spike(alert, today, key, names.get(key), amount, median))
    return new


def _spike(alert: SpikeAlert, today: str, key: str, name: str | None, amount: int, median: int) -> NewAlert:
    if alert.per == "total":
        subject, whose = "total", "The spend"
        facts: dict[str, Any] = {"key_id": None, "key_name": None}
    else:
        subject = f"key:{key}"
        whose = f"The spend of key {shown(name or key)}" if key else "The spend without a key"
        facts = {"key_id": key or None, "key_name": name}
    times = f"{amount / median:.1f}"
    return NewAlert(
        alert=alert.name,
        kind=alert.on,
        subject=subject,
        window=f"day {today}",
        title=f"{whose} of {today} is {times} times the usual",
        text=(
            f"{format_usd(amount)} USD have been spent today. The median of the last {alert.days} days with spend is "
            f"{format_usd(median)} USD."
        ),
        facts={**facts, "day": today, "spent_usd": format_usd(amount), "median_usd": format_usd(median)},
    )


async def unsettled(state: AppState, alert: UnsettledAlert, at: datetime) -> list[NewAlert]:
    """Return the alert of today if there are unsettled calls."""
    found = await unsettled_sum(state.database)
    if not found.count or found.amount < usd_to_nano(alert.least_usd):
        return []
    today, amount = local_day(at, state.zone), format_usd(found.amount)
    calls = "1 paid call is" if found.count == 1 else f"{found.count} paid calls are"
    return [
        NewAlert(
            alert=alert.name,
            kind=alert.on,
            subject="unsettled",
            window=f"day {today}",
            title=f"{calls} unsettled: {amount} USD at worst",
            text=(
                "Their process died before it knew their cost. They count against their budgets at the worst case until "
                "you resolve them: see `cope-proxy ledger unsettled`."
            ),
            facts={"calls": found.count, "amount_usd": amount},
        )
    ]
