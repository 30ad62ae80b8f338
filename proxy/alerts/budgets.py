"""The alerts on budgets: a fraction is used, or the forecast says that the limit will be reached."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, get_args

from proxy.alerts.wording import budget_name, local_time, percent
from proxy.config.alerts import BudgetAlert, ForecastAlert
from proxy.ledger.alerts import NewAlert
from proxy.ledger.budget_use import budgets_near_limit, subject_of, window_name
from proxy.ledger.budgets import BudgetView
from proxy.ledger.keys import key_names
from proxy.ledger.windows import window_end, window_start
from proxy.pricing.money import format_usd
from proxy.records import Window
from proxy.service.state import AppState
from proxy.stats import forecast

MOST = 200
"""The most budgets of one window and level in one check. The next check goes on with the others."""
_LEAST_ELAPSED = timedelta(hours=1)


async def used_fractions(state: AppState, alert: BudgetAlert, at: datetime) -> list[NewAlert]:
    """Return the fractions that budgets have newly reached. Lower ones of the same budget are not sent."""
    levels = {_level(share): share for share in alert.at}
    new: list[NewAlert] = []
    for window, start in _current_windows(state, at):
        found = await budgets_near_limit(
            state.database, window, start, alert=alert.name, levels=levels, scopes=alert.scopes, most=MOST
        )
        names = await _names(state, [budget for budget, _ in found])
        for budget, reached in found:
            new.append(_used(state, alert, budget, levels[reached], names, sent=True))
            lower = (share for share in levels.values() if share < levels[reached])
            new += [_used(state, alert, budget, share, names, sent=False) for share in lower]
    return new


async def forecasts(state: AppState, alert: ForecastAlert, at: datetime) -> list[NewAlert]:
    """Return the budgets that will be used up before their windows end."""
    new: list[NewAlert] = []
    for window, start in _current_windows(state, at):
        end = window_end(window, start, state.zone)
        if end is None:
            continue
        passed = (at - start) / (end - start)
        if passed < alert.after or at - start < _LEAST_ELAPSED:
            continue
        found = await budgets_near_limit(
            state.database,
            window,
            start,
            alert=alert.name,
            levels={"": passed},
            scopes=alert.scopes,
            most=MOST,
        )
        names = await _names(state, [budget for budget, _ in found])
        for budget, _ in found:
            used = budget.spent + budget.unsettled
            ends = forecast.exhausted_at(used, budget.limit, start, end, at)
            if ends is not None:
                new.append(_forecast(state, alert, budget, ends, end, names))
    return new


def _current_windows(state: AppState, at: datetime) -> Iterator[tuple[Window, datetime]]:
    for window in get_args(Window):
        yield window, window_start(window, at, state.zone)


def _level(level: float) -> str:
    return f"{level:g}"


async def _names(state: AppState, found: list[BudgetView]) -> dict[str, str]:
    ids = {b.name for b in found if b.scope == "key"} | {b.owner for b in found if b.owner}
    return await key_names(state.database, ids) if ids else {}


def _facts(state: AppState, budget: BudgetView, names: dict[str, str]) -> dict[str, Any]:
    end = window_end(budget.window, budget.window_start, state.zone)
    key = budget.name if budget.scope == "key" else budget.owner
    return {
        "scope": budget.scope,
        "name": budget.name,
        "key_id": key or None,
        "key_name": names.get(key),
        "window": budget.window,
        "window_start": budget.window_start.isoformat(),
        "window_end": None if end is None else end.isoformat(),
        "limit_usd": format_usd(budget.limit),
        "used_usd": format_usd(budget.spent + budget.unsettled),
        "unsettled_usd": format_usd(budget.unsettled),
    }


def _used(
    state: AppState,
    alert: BudgetAlert,
    budget: BudgetView,
    level: float,
    names: dict[str, str],
    *,
    sent: bool,
) -> NewAlert:
    name = budget_name(budget, names)
    used = format_usd(budget.spent + budget.unsettled)
    text = f"{used} of {format_usd(budget.limit)} USD are used"
    if budget.unsettled:
        text += f", {format_usd(budget.unsettled)} of them unsettled"
    if (end := window_end(budget.window, budget.window_start, state.zone)) is not None:
        text += f". The window ends on {local_time(end, state.zone)}"
    return NewAlert(
        alert=alert.name,
        kind=alert.on,
        subject=subject_of(budget),
        window=window_name(budget.window, budget.window_start),
        level=_level(level),
        title=f"{percent(level)} of {name} {'is' if level < 1 else 'are'} used",
        text=f"{text}.",
        facts={**_facts(state, budget, names), "fraction": level},
        sent=sent,
    )


def _forecast(
    state: AppState,
    alert: ForecastAlert,
    budget: BudgetView,
    ends: datetime,
    window_ends: datetime,
    names: dict[str, str],
) -> NewAlert:
    name = budget_name(budget, names)
    form = "%Y-%m-%d %H:%M" if budget.window == "day" else "%Y-%m-%d"
    return NewAlert(
        alert=alert.name,
        kind=alert.on,
        subject=subject_of(budget),
        window=window_name(budget.window, budget.window_start),
        title=f"At this rate {name} is exhausted on {ends.astimezone(state.zone):{form}}",
        text=(
            f"{format_usd(budget.spent + budget.unsettled)} of {format_usd(budget.limit)} USD are used. At the mean rate "
            f"of the window so far the budget lasts until {local_time(ends, state.zone)}, and the window ends on "
            f"{local_time(window_ends, state.zone)}."
        ),
        facts={**_facts(state, budget, names), "exhausted_at": ends.isoformat()},
    )
