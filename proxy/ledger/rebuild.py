"""Rebuild the rollups from the rows of requests and calls."""

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Select, delete, func, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ledger.rollups import DIMENSIONS, SUMS, TIMED, by_month
from proxy.ledger.row_sums import DaySpan, days_with_rows, latencies, totals
from proxy.ledger.sum_tables import LatencyRollupRow, RollupRow
from proxy.ledger.wide_sums import capped_sum


async def rebuild(engine: AsyncEngine, zone: ZoneInfo) -> int:
    """Rebuild the rollups of every day that still has all its rows. Return the number of days.

    This is needed after a change of the time zone, and it corrects sums that were changed by hand.
    """
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        days = [span async for span in days_with_rows(connection, None, None, zone)]
        oldest_sum = await connection.scalar(
            select(func.min(RollupRow.day)).where(RollupRow.dimension == "all")
        )
    if days and oldest_sum is not None and oldest_sum < days[0].day:
        # Pruning may have deleted rows of the oldest day, and calls on the next day of requests that began on it.
        days = days[2:]
    for day in days:
        start = day.low.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        async with engine.begin() as connection:
            await _rebuild_day(connection, DaySpan(day.day, start, start + timedelta(days=1)))
    async with engine.begin() as connection:
        await _rebuild_months(connection)
    return len(days)


async def _rebuild_day(connection: AsyncConnection, span: DaySpan) -> None:
    for table, dimensions, rows in ((RollupRow, DIMENSIONS, totals), (LatencyRollupRow, TIMED, latencies)):
        await connection.execute(delete(table).where(table.dimension.in_(dimensions), table.day == span.day))
        for dimension in dimensions:
            found = rows(connection, dimension, span).subquery()
            await _refill(connection, table, select(literal(dimension), *found.c), found.c.keys())


async def _rebuild_months(connection: AsyncConnection) -> None:
    for table, dimensions in ((RollupRow, DIMENSIONS), (LatencyRollupRow, TIMED)):
        keys = ["key_id", "value", *(["bucket"] if table is LatencyRollupRow else [])]
        amounts = SUMS if table is RollupRow else ("requests",)
        month = func.substr(table.day, 1, 7)
        for dimension in dimensions:
            await connection.execute(delete(table).where(table.dimension == by_month(dimension)))
            grouped = [getattr(table, k) for k in keys]
            sums = (capped_sum(getattr(table, n)) for n in amounts)
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
