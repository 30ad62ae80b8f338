"""Find the budgets that are near their limits, without reading all of them into memory."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Float, cast, exists, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.alert_tables import AlertRow
from proxy.ledger.budgets import BudgetView
from proxy.ledger.tables import BudgetRow
from proxy.ledger.views import view
from proxy.records import Scope, Window

_TOLERANCE = 1e-9
"""The database compares floating point numbers. The caller checks exactly."""


def window_name(window: Window, start: datetime) -> str:
    """Return the name of a window in the alerts."""
    return "total" if window == "total" else f"{window} {start:%Y-%m-%dT%H:%MZ}"


def subject_of(budget: BudgetView) -> str:
    """Return the name of a budget in the alerts. The name of a scope has no colon, and the id of a key neither."""
    return f"{budget.scope}:{budget.owner}:{budget.name}"


async def budgets_near_limit(
    engine: AsyncEngine,
    window: Window,
    start: datetime,
    *,
    share: float,
    alert: str,
    level: str,
    scopes: Sequence[Scope],
    most: int,
) -> list[BudgetView]:
    """Return budgets of one window that have used at least a share of their limits, as far as they are new.

    The index of windows finds the rows. An index of the amounts would have to be changed with each settlement.

    Args:
        engine: the database.
        window: the kind of window.
        start: its start.
        share: the share of the limit. Spent and unsettled money counts as used, reserved money does not.
        alert: leave out the budgets for which this alert has been raised in the window.
        level: the level of that alert.
        scopes: only budgets of these scopes. Empty: of all.
        most: the most budgets to return. The next call returns others, once the alert is raised for these.
    """
    used = cast(BudgetRow.spent_nano, Float) + cast(BudgetRow.unsettled_nano, Float)
    raised = exists().where(
        AlertRow.alert == alert,
        AlertRow.window == window_name(window, start),
        AlertRow.level == level,
        AlertRow.subject == BudgetRow.scope + ":" + BudgetRow.owner + ":" + BudgetRow.name,
    )
    query = (
        select(BudgetRow.__table__)
        .where(
            BudgetRow.window == window,
            BudgetRow.window_start == start,
            BudgetRow.limit_nano > 0,
            used >= cast(BudgetRow.limit_nano, Float) * (share * (1 - _TOLERANCE)),
            ~raised,
        )
        .order_by(BudgetRow.id)
        .limit(most)
    )
    if scopes:
        query = query.where(BudgetRow.scope.in_(scopes))
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [
            view(
                BudgetView, row,
                limit=row.limit_nano, spent=row.spent_nano, reserved=row.reserved_nano, unsettled=row.unsettled_nano,
            )
            for row in await connection.execute(query)
        ]  # fmt: skip
