"""Find the budgets that are near their limits, without reading all of them into memory."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Float, String, case, cast, exists, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.alert_tables import AlertRow
from proxy.ledger.budgets import BudgetView
from proxy.ledger.tables import BudgetRow
from proxy.ledger.views import view
from proxy.records import Scope, Window

_TOLERANCE = 1e-9
"""The database compares floating point numbers, so it may return a budget that is one billionth short of its level."""


def window_name(window: Window, start: datetime) -> str:
    """Return the name of a window in the alerts."""
    return "total" if window == "total" else f"{window} {start:%Y-%m-%dT%H:%MZ}"


def subject_of(budget: BudgetView) -> str:
    """Return the name of a budget in the alerts.

    The limit is a part of it, so that a budget whose limit was raised is alerted again.
    """
    return f"{budget.scope}:{budget.owner}:{budget.name} limit {budget.limit}"


async def budgets_near_limit(
    engine: AsyncEngine,
    window: Window,
    start: datetime,
    *,
    alert: str,
    levels: Mapping[str, float],
    scopes: Sequence[Scope],
    most: int,
) -> list[tuple[BudgetView, str]]:
    """Return budgets of one window that have used a share of their limits, each with the highest level it has reached.

    The index of windows finds the rows. An index of the amounts would have to be changed with each settlement.

    Args:
        engine: the database.
        window: the kind of window.
        start: its start.
        alert: leave out the budgets for which this alert has been raised in the window at their level.
        levels: shares of the limit by the names of the levels. Spent and unsettled money counts, reserved money does not.
        scopes: only budgets of these scopes. Empty: of all.
        most: the most budgets to return. The next call returns others, once the alert is raised for these.
    """
    used = cast(BudgetRow.spent_nano, Float) + cast(BudgetRow.unsettled_nano, Float)
    ordered = sorted(levels.items(), key=lambda item: -item[1])
    reached = [
        (used >= cast(BudgetRow.limit_nano, Float) * (share * (1 - _TOLERANCE)), level)
        for level, share in ordered
    ]
    name = BudgetRow.scope + ":" + BudgetRow.owner + ":" + BudgetRow.name
    subject = name + " limit " + cast(BudgetRow.limit_nano, String)  # as in `subject_of`
    level = case(*reached, else_=None)
    raised = exists().where(
        AlertRow.alert == alert,
        AlertRow.window == window_name(window, start),
        AlertRow.level == level,
        AlertRow.subject == subject,
    )
    query = (
        select(BudgetRow.__table__, level.label("reached"))
        .where(
            BudgetRow.window == window,
            BudgetRow.window_start == start,
            BudgetRow.limit_nano > 0,
            reached[-1][0],
            ~raised,
        )
        .order_by(BudgetRow.id)
        .limit(most)
    )
    if scopes:
        query = query.where(BudgetRow.scope.in_(scopes))
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [(_view(row), row.reached) for row in await connection.execute(query)]


def _view(row: Any) -> BudgetView:
    return view(
        BudgetView, row,
        limit=row.limit_nano, spent=row.spent_nano, reserved=row.reserved_nano, unsettled=row.unsettled_nano,
    )  # fmt: skip
