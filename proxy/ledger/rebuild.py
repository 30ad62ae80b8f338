"""Rebuild the rollups from the rows of requests and calls."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BigInteger,
    Select,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ledger.reports import _days, _latencies, _totals
from proxy.ledger.rollups import DIMENSIONS, SUMS, TIMED, by_month
from proxy.ledger.tables import LatencyRollupRow, RollupRow


async def rebuild(engine: AsyncEngine, zone: ZoneInfo) -> int:
    """Make the rollups anew from the rows, for every day whose rows are all still there. Returns how many days.

    Needed after a change of the time zone, and it heals sums that somebody has changed by hand.
    """
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        days = [d async for d in _days(connection, None, None, zone)]
        oldest_sum = await connection.scalar(
            select(func.min(RollupRow.day)).where(RollupRow.dimension == "all")
        )
    if days and oldest_sum is not None and oldest_sum < days[0][0]:
        # Some rows of the oldest day may have been pruned, and some calls of requests that began on it: sums know more.
        days = days[2:]
    for day, low, _ in days:
        start = low.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        async with engine.begin() as connection:
            await _rebuild_day(connection, day, start, (start + timedelta(days=1)))
    async with engine.begin() as connection:
        await _rebuild_months(connection)
    return len(days)


async def _rebuild_day(connection: AsyncConnection, day: str, low: datetime, high: datetime) -> None:
    for table, dimensions, rows in ((RollupRow, DIMENSIONS, _totals), (LatencyRollupRow, TIMED, _latencies)):
        await connection.execute(delete(table).where(table.dimension.in_(dimensions), table.day == day))
        for dimension in dimensions:
            found = rows(connection, dimension, day, low, high).subquery()
            await _refill(connection, table, select(literal(dimension), *found.c), found.c.keys())


async def _rebuild_months(connection: AsyncConnection) -> None:
    for table, dimensions in ((RollupRow, DIMENSIONS), (LatencyRollupRow, TIMED)):
        keys = ["key_id", "value", *(["bucket"] if table is LatencyRollupRow else [])]
        amounts = SUMS if table is RollupRow else ("requests",)
        month = func.substr(table.day, 1, 7)
        for dimension in dimensions:
            await connection.execute(delete(table).where(table.dimension == by_month(dimension)))
            grouped = [getattr(table, k) for k in keys]
            sums = (cast(func.sum(getattr(table, n)), BigInteger) for n in amounts)
            rows = select(literal(by_month(dimension)), month, *grouped, *sums).where(
                table.dimension == dimension
            )
            await _refill(connection, table, rows.group_by(month, *grouped), ["day", *keys, *amounts])


async def _refill(
    connection: AsyncConnection,
    table: type[RollupRow] | type[LatencyRollupRow],
    rows: Select[Any],
    names: list[str],
) -> None:
    await connection.execute(insert(table).from_select(["dimension", *names], rows))
