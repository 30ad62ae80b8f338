"""Texts of alerts. Names in them come from clients, so they are shortened and cannot break a line."""

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from proxy.ledger.budgets import BudgetView

_LONGEST = 80
_INVISIBLE = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ud800-\\udfff]+"
)
"""Characters that end a line, change its order or cannot be seen, and halves of characters."""


def shown(name: str) -> str:
    """Return a name for a text: on one line, and not longer than 80 characters."""
    name = _INVISIBLE.sub(" ", name[: 2 * _LONGEST]).strip()
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def budget_name(budget: BudgetView, key_names: dict[str, str]) -> str:
    """Return a budget in words, such as "the month budget of key team-a"."""
    kind = "total" if budget.window == "total" else budget.window
    match budget.scope:
        case "global":
            return f"the global {kind} budget"
        case "key":
            return f"the {kind} budget of key {shown(key_names.get(budget.name, budget.name))}"
    owner = f" of key {shown(key_names.get(budget.owner, budget.owner))}" if budget.owner else ""
    return f"the {kind} budget of {budget.scope} {shown(budget.name)}{owner}"


def local_time(at: datetime, zone: ZoneInfo) -> str:
    """Return a time as "2026-10-31 14:05 Europe/Berlin"."""
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M} {zone.key}"


def percent(part: float) -> str:
    """Return a fraction as "80 %"."""
    return f"{100 * part:g} %"
